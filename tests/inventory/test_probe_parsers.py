"""What GPU tools and Docker printed on real machines (captures/), and what broken ones may print."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.engines.llamacpp import devices as listed
from webapp.inventory.probes import amd, docker_info, intel, nvidia, processor
from webapp.inventory.probes.devices import Device, ProbeError, number, pci_address, size

CAPTURES = Path(__file__).parent / "captures"
MIB = 2**20


def capture(name: str) -> str:
    return (CAPTURES / name).read_text()


def test_list_of_a_cut_gpu_has_its_slices() -> None:
    (h100,) = nvidia.parse_list(capture("nvidia_list_h100_mig.txt"))
    assert (h100.name, h100.id) == ("NVIDIA H100 80GB HBM3", "GPU-00000000-0000-0000-0000-000000000000")
    assert [(piece.profile, piece.index) for piece in h100.slices] == [
        ("3g.40gb", 0),
        ("2g.20gb", 1),
        ("1g.10gb", 2),
        ("1g.10gb", 3),
    ]
    (h200,) = nvidia.parse_list(capture("nvidia_list_h200_mig.txt"))
    assert [piece.profile for piece in h200.slices][:2] == ["1c.3g.71gb", "2c.3g.71gb"]
    assert h200.slices[4].id == "MIG-00000004-0000-0000-0000-000000000004"


def test_xml_and_list_together_give_slices_with_memory_and_id() -> None:
    cut, first, second, plain = nvidia.parse_xml(capture("nvidia_a100_mig.xml"), capture("nvidia_a100_list.txt"))
    assert cut.is_partitioned and not plain.is_partitioned
    assert cut.utilisation is None and plain.utilisation == 0.87
    assert (first.id, second.id) == (
        "MIG-0a1f6c1e-1111-5e0e-9d43-000000000000",
        "MIG-0a1f6c1e-2222-5e0e-9d43-000000000001",
    )
    assert first.parent_id == cut.id and plain.parent_id == ""
    assert (first.memory_bytes, first.used_bytes, first.free_bytes) == (19968 * MIB, 12 * MIB, 19955 * MIB)
    assert first.name == "NVIDIA A100-SXM4-80GB MIG 2g.20gb"
    assert (cut.power_w, cut.power_limit_w, cut.temperature_c) == (67.03, 500.0, 27.0)
    assert (plain.driver_version, plain.pci_address) == ("535.54.03", "0000:41:00.0")


def test_slices_that_cannot_be_named_are_left_out() -> None:
    devices = nvidia.parse_xml(capture("nvidia_a100_mig.xml"))
    assert [device.index for device in devices] == [0, 1]
    assert devices[0].is_partitioned  # so that nobody reserves the whole card


def test_query_rows_of_three_generations() -> None:
    h100, h200, rtx = nvidia.parse_csv(capture("nvidia_query.csv"))
    assert (h100.is_partitioned, h200.is_partitioned, rtx.is_partitioned) == (True, False, False)
    assert (h100.utilisation, h200.utilisation, rtx.utilisation) == (None, 1.0, 0.0)
    assert (h200.memory_bytes, h200.used_bytes, h200.free_bytes) == (143771 * MIB, 32362 * MIB, 110796 * MIB)
    assert (h200.compute_capability, h200.power_w, h200.pci_address) == ("9.0", 627.4, "0000:83:00.0")
    assert [device.index for device in (h100, h200, rtx)] == [0, 1, 2]


def test_query_with_other_fields_and_without_units() -> None:
    devices = nvidia.parse_csv(capture("nvidia_v100.csv"))
    assert [device.index for device in devices] == [0, 1, 2, 3]
    assert devices[1].used_bytes == 11149 * MIB and devices[1].memory_bytes is None
    assert devices[3].utilisation == 1.0
    assert devices[0].id == "GPU-ad466f2f-575d-d949-35e0-9a7d912d974e"


def test_fields_that_are_asked_for_are_the_fields_that_are_read() -> None:
    row = ", ".join(f"<{field}>" for field in nvidia.QUERY_FIELDS.split(","))
    (device,) = nvidia.parse_csv(f"{nvidia.QUERY_FIELDS}\n{row}\n")
    assert (device.id, device.name, device.driver_version) == ("<uuid>", "<name>", "<driver_version>")
    assert device.memory_bytes is None and device.compute_capability == "<compute_cap>"


@pytest.mark.parametrize("name", ["amd_rocm_mi210.csv", "amd_rocm_mi100.json", "amd_smi_mi300x.json"])
def test_amd_tools_of_three_releases(name: str) -> None:
    devices = amd.parse(capture(name))
    expected = {
        "amd_rocm_mi210.csv": (2, "Instinct MI210", 68702699520, 10960896),
        "amd_rocm_mi100.json": (1, "AMD GPU", 34342961152, 6750208),
        "amd_smi_mi300x.json": (1, "AMD Instinct MI300X", 196592 * MIB, None),
    }[name]
    assert (len(devices), devices[0].name, devices[0].memory_bytes, devices[0].used_bytes) == expected
    assert [device.index for device in devices] == list(range(len(devices)))
    assert all(device.vendor == "amd" for device in devices)


def test_amd_use_is_joined_to_what_is_there() -> None:
    (device,) = amd.parse(capture("amd_smi_mi300x.json"), capture("amd_smi_metric_mi300x.json"))
    assert (device.used_bytes, device.free_bytes) == (284 * MIB, 196308 * MIB)
    assert (device.utilisation, device.power_w, device.temperature_c) == (0.37, 132.0, None)
    assert (device.compute_capability, device.pci_address, device.driver_version) == (
        "gfx942",
        "0000:83:00.0",
        "6.19.14",
    )


def test_older_amd_smi_prints_a_bare_list() -> None:
    entries = json.loads(capture("amd_smi_mi300x.json").partition("\n")[2])["gpu_data"]
    assert amd.parse(json.dumps(entries)) == amd.parse(capture("amd_smi_mi300x.json"))


def test_newer_rocm_smi_spells_its_columns_differently() -> None:
    text = capture("amd_rocm_mi210.csv").replace("Card series", "Card Series")
    text = text.replace("Average Graphics Package Power (W)", "Current Socket Graphics Package Power (W)")
    device = amd.parse(text)[0]
    assert (device.name, device.power_w, device.temperature_c) == ("Instinct MI210", 41.0, 40.0)


def test_intel_memory_comes_from_the_details_and_use_from_the_dump() -> None:
    first, second = intel.parse(
        capture("intel_discovery.json"), [capture("intel_details_0.json")], capture("intel_dump.csv")
    )
    assert (first.memory_bytes, first.driver_version) == (51522830336, "I915_23.10.72_PSB_231129.76")
    assert first.used_bytes == int(27.99 * MIB)
    assert (second.memory_bytes, second.utilisation, second.power_w, second.temperature_c) == (None, 0.425, 201.1, 51.0)
    assert (first.temperature_c, first.pci_address, first.render_node) == (None, "0000:29:00.0", "/dev/dri/card1")


def test_intel_virtual_functions_are_not_cards() -> None:
    text = capture("intel_discovery.json").replace('"physical","device_id":1', '"virtual","device_id":1')
    assert [device.index for device in intel.parse(text)] == [0]


def test_llama_server_lists_devices_of_every_backend() -> None:
    cuda = listed.parse(capture("llama_devices_cuda.txt"))
    assert [(d.backend, d.index, d.memory_bytes, d.free_bytes) for d in cuda] == [
        ("CUDA", 0, 24564 * MIB, 23592 * MIB),
        ("CUDA", 1, 12288 * MIB, 11500 * MIB),
    ]
    assert [d.name for d in listed.parse(capture("llama_devices_rocm.txt"))] == ["AMD Radeon RX 6700 XT"]
    assert listed.parse("Available devices:\n") == ()


def test_memory_of_the_host_is_not_counted_as_the_gpus() -> None:
    (device,) = listed.parse(capture("llama_devices_unified.txt"))
    assert device.shares_host_memory
    assert not listed.parse(capture("llama_devices_cuda.txt"))[0].shares_host_memory


INFO: dict[str, Any] = {
    "ID": "b5a3b0e2-7d1d-4b7e-9c2d-5c0e4d2f7a11",
    "Name": "yard-1",
    "NCPU": 2,
    "MemTotal": 25275789312,
    "Architecture": "x86_64",
    "OSType": "linux",
    "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
    "KernelVersion": "6.1.0",
    "ServerVersion": "20.10.24+dfsg1",
    "Driver": "overlay2",
    "DockerRootDir": "/var/lib/docker",
    "Runtimes": {"io.containerd.runc.v2": {}, "runc": {}},
    "DefaultRuntime": "runc",
    "SecurityOptions": ["name=seccomp,profile=default"],
    "Warnings": None,
    "ContainersRunning": 3,
}


@pytest.mark.parametrize(
    ("more", "vendors"),
    [
        ({}, ()),
        ({"Runtimes": {"runc": {}, "nvidia": {}}}, ("nvidia",)),
        ({"Runtimes": {"runc": {}, "amd": {}}}, ("amd",)),
        ({"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]}, ("nvidia",)),
        (
            {"DiscoveredDevices": [{"Source": "cdi", "ID": f"{v}.com/gpu=all"} for v in ("intel", "amd", "nvidia")]},
            ("nvidia", "amd", "intel"),
        ),
        ({"DiscoveredDevices": [{"Source": "cdi", "ID": "example.com/nvidia.com=0"}, {"Source": "x"}, 5]}, ()),
        ({"Runtimes": None, "DiscoveredDevices": None}, ()),
    ],
)
def test_vendors_follow_from_runtimes_and_cdi_devices(more: dict[str, Any], vendors: tuple[str, ...]) -> None:
    assert docker_info.parse(INFO | more).likely_vendors == vendors


def test_docker_info_of_a_plain_host() -> None:
    facts = docker_info.parse(INFO)
    assert (facts.cpus, facts.memory_bytes, facts.platform) == (2, 25275789312, "linux/amd64")
    assert (facts.daemon_id, facts.server_version) == (INFO["ID"], "20.10.24+dfsg1")
    assert (facts.rootless, facts.live_restore, facts.warnings) == (False, False, ())
    assert docker_info.parse(INFO | {"SecurityOptions": ["name=rootless"]}).rootless


@pytest.mark.parametrize(
    ("parse", "words"),
    [
        (lambda: docker_info.parse({}), "no usable answer"),
        (lambda: docker_info.parse(INFO | {"OSType": "windows"}), "needs Linux"),
        (lambda: nvidia.parse_list(""), "printed nothing"),
        (lambda: nvidia.parse_list("bash: nvidia-smi: command not found"), "lists no GPU"),
        (lambda: nvidia.parse_xml("NVIDIA-SMI has failed because it couldn't communicate"), "does not work there"),
        (lambda: nvidia.parse_csv("No devices were found"), "does not work there"),
        (lambda: nvidia.parse_csv("1, 2\n3, 4\n"), "no header line"),
        (lambda: nvidia.parse_csv("name, uuid\nA100\n"), "1 values for 2 fields"),
        (lambda: nvidia.parse_xml("<nvidia_smi_log></nvidia_smi_log>"), "no GPU"),
        (lambda: nvidia.parse_xml("<a><gpu>"), "cannot be read"),
        (lambda: nvidia.parse_xml('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'), "entities"),
        (lambda: nvidia.parse_xml("x" * (17 * MIB)), "no device list"),
        (lambda: amd.parse("rocm-smi: command not found"), "no device list"),
        (lambda: amd.parse("{}"), "no GPU"),
        (lambda: amd.parse("[" * 5000), "cannot be read"),
        (lambda: intel.parse('{"device_list":[]}'), "no GPU"),
        (lambda: intel.parse('{"error":"Level Zero Initialization Error","errno":5}'), "Level Zero"),
        (lambda: intel.parse("[1]"), "cannot be read|something else"),
        (lambda: intel.parse_dump("a, b"), "no header line"),
        (lambda: listed.parse("error: unknown argument --list-devices"), "no device list"),
    ],
)
def test_useless_answers_say_who_gave_them(parse: Callable[[], object], words: str) -> None:
    with pytest.raises(ProbeError, match=words):
        parse()


def test_numbers_with_units_and_without_a_value() -> None:
    assert [number(text) for text in ("71.15 W", "98 %", 42, "[N/A]", "N/A", None, "", True)] == [
        71.15,
        98.0,
        42.0,
        None,
        None,
        None,
        None,
        None,
    ]
    assert number("9223372036854775794") is None  # DCGM's word for "not available"
    assert (size("1 GiB"), size("12"), size("12", "B"), size("-1 MiB")) == (2**30, 12 * MIB, 12, None)
    assert pci_address("00000000:83:00.0") == pci_address("0000:83:00.0") == "0000:83:00.0"


PARSERS: list[Callable[[str], object]] = [
    nvidia.parse_list,
    nvidia.parse_xml,
    nvidia.parse_csv,
    amd.parse,
    intel.parse,
    intel.parse_dump,
    listed.parse,
]
TEXTS = [path.read_text() for path in sorted(CAPTURES.iterdir())]


@given(st.sampled_from(TEXTS), st.data())
def test_damaged_captures_give_devices_or_a_probe_error(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(text) - 1)))
        length = data.draw(st.integers(0, 30))
        text = text[:at] + data.draw(st.text(alphabet='<>{}[],:"\n 09aé\0&;', max_size=6)) + text[at + length :]
    for parser in PARSERS:
        try:
            found = parser(text)
        except ProbeError as error:
            assert str(error)
        else:
            if parser in (nvidia.parse_xml, nvidia.parse_csv, amd.parse, intel.parse):
                assert isinstance(found, tuple)
                assert all(isinstance(device, Device) for device in found)


def test_the_processors_of_a_host_and_what_matters_of_them() -> None:
    found = processor.parse(capture("cpuinfo_epyc_milan.txt"))
    assert found.name == "AMD EPYC" and {"sse2", "avx2", "f16c"} <= found.flags and "avx512f" not in found.flags
    assert found.features == ("AVX2", "FMA", "F16C")
    assert processor.Processor.from_json(json.loads(json.dumps(found.as_json()))) == found


@pytest.mark.parametrize(
    ("text", "name", "features"),
    [
        ("model name\t: Xeon\nflags\t: sse2 avx2 avx512f avx512_bf16 amx_tile\n", "Xeon",
         ("AVX2", "AVX-512", "AVX-512 BF16", "AMX")),
        # Cores that differ: a container may run on any of them.
        ("flags : sse2 avx2 avx512f\n\nflags : sse2 avx2\n", "", ("AVX2",)),
        ("processor : 0\nFeatures : fp asimd asimddp sve\nCPU implementer : 0x41\n", "",
         ("NEON", "dot product", "SVE")),
        ("cpu\t\t: POWER9, altivec supported\n", "POWER9, altivec supported", ()),
        ("model name : X\nflags :\n", "X", ()),
    ],
)  # fmt: skip
def test_processors_of_other_kinds(text: str, name: str, features: tuple[str, ...]) -> None:
    found = processor.parse(text)
    assert (found.name, found.features) == (name, features)


@given(st.text())
def test_whatever_a_kernel_says_is_read_or_refused(text: str) -> None:
    for said in (text, f"flags: {text}"):
        try:
            assert len(processor.parse(said).name) <= 100
        except ProbeError:
            assert said is text


def test_the_command_prints_each_line_that_matters_once() -> None:
    import subprocess
    import sys

    said = subprocess.run([sys.executable, *processor.COMMAND[1:]], capture_output=True, text=True, check=True).stdout
    assert processor.parse(said) == processor.parse(Path("/proc/cpuinfo").read_text())
    assert len(said) < 20_000


@pytest.mark.parametrize("stored", [None, {}, [], {"name": "x"}, {"flags": None}])
def test_what_was_never_stored_is_not_known(stored: Any) -> None:
    assert processor.Processor.from_json(stored).flags == frozenset()
