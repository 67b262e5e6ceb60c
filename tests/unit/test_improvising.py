"""Random stories: a seed makes the same ones again, and each can be told and comes to an end."""

from tests.e2e.improvising import KINDS, Plan, plan

MANY = [plan("unit", number) for number in range(600)]


def actions(story: Plan) -> list[str]:
    return [step.action for step in story.steps]


def test_the_same_seed_makes_the_same_story_and_another_seed_another() -> None:
    assert [plan("unit", number) for number in range(600)] == MANY
    assert plan("other", 1) != plan("unit", 1)
    assert str(plan("unit", 0)).startswith(f"{KINDS[0]}: create ")


def test_all_that_can_happen_happens_to_each_kind() -> None:
    happened = {kind: {action for story in MANY if story.kind == kind for action in actions(story)} for kind in KINDS}
    usual = {"create", "scale", "change", "break", "restart", "lose"}
    assert happened == {
        "MCPServer": usual | {"pause", "suspend", "resume", "delete"},
        "Deployment": usual | {"pause", "undo"},
        "StatefulSet": usual | {"undo"},
    }


def test_every_story_ends_with_a_server_that_can_run_and_is_waited_for_or_with_its_deletion() -> None:
    for story in MANY:
        last = story.steps[-1]
        assert last.action == "delete" or last.waits
        assert last.action not in ("break", "suspend"), "somebody has to make it good"
        assert all(step.replicas >= 1 for step in story.steps if step.action != "delete")


def test_nothing_is_undone_before_something_was_changed() -> None:
    for story in MANY:
        for index, action in enumerate(actions(story)):
            if action == "undo":
                assert {"change", "restart", "pause", "break"} & set(actions(story)[:index])
