"""Which modules and tests tell the figures of each group."""


def _test(name: str) -> list[str]:
    # Tests of `make soak`, too, where they are named.
    return ["pytest", "-q", "-m", "slow or not slow", name]


GROUPS = {
    "run": [
        ["tests.bench.product"],
        _test("tests/cli/test_installed.py::test_help_loads_nothing_that_it_does_not_need"),
        _test("tests/planner/test_placement.py::test_ten_times_the_hosts_cost_about_ten_times_as_much"),
        _test("tests/dashboard/test_big_lists.py::test_a_thousand_rows_cost_the_queries_of_ten"),
        _test("tests/operations/test_many_writers.py::test_they_do_so_for_ten_minutes"),
        _test("tests/workers/test_rollouts_live.py::test_an_edit_of_two_replicas_fails_no_request"),
        _test("tests/workers/test_stack.py::test_without_the_watcher_the_sweep_finds_the_state"),
        _test("tests/journey/test_d_breakage.py::test_killing_one_process_fails_no_request_and_heals"),
        _test("tests/compose/test_compose.py::test_from_built_images_to_a_completion_through_the_tls_front"),
    ],
    "gateway": [["tests.bench.gateway"]],
    "live": [_test("tests/browser/test_pages.py::test_a_change_is_on_the_screen_of_an_open_page")],
    "quantise": [
        _test("tests/quantisation/test_progress_real.py::test_an_open_page_is_told_of_reports_while_the_tool_is_at_work"),
        _test("tests/quantisation/test_chains_real.py::test_a_folder_becomes_a_measured_q4_k_m"),
    ],
    "close": [
        ["tests.bench.sockets"],
        _test("tests/gateway/test_differential.py::test_the_gateway_reads_what_h11_reads[2000]"),
        _test("tests/gateway/test_differential.py::test_nginx_and_the_gateway_read_the_same[2000]"),
        _test("tests/gateway/test_page_bodies.py"),
        _test("tests/workers/test_isolation.py"),
        _test("tests/api/test_isolation.py"),
    ],
}  # fmt: skip
