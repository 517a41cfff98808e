"""The cast stands where the other tests expect it."""


def test_the_team_is_ada_and_bob_and_eve_is_a_stranger(team, ada, bob, eve):
    assert set(team.members.all()) == {ada, bob}
    assert eve.teams.get() != team


def test_the_stage_has_a_host_with_room_and_a_file_to_serve(host, artifact):
    assert host.free_bytes > 50 * 1024**3
    assert host.accelerators.count() == 2
    assert artifact.copies.get().state == "present"
