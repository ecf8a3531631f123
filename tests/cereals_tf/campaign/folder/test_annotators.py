"""Short names of annotators."""

from hypothesis import given
from hypothesis import strategies as st

from cereals_tf.campaign.folder.annotators import short_names


def test_folders_are_called_by_what_tells_them_apart():
    assert short_names(
        [
            "/w/tasks-000",
            "/w/tasks-000-second",
            "/a/x/done",
            "/b/x/done",
            "anna",
            "/w/anna",
            "http://h",
        ]
    ) == {
        "/w/tasks-000": "tasks-000",
        "/w/tasks-000-second": "tasks-000-second",
        "/a/x/done": "a/x/done",
        "/b/x/done": "b/x/done",
        "anna": "anna",
        "/w/anna": "w/anna",
        "http://h": "http://h",
    }


@given(st.lists(st.text("/ab", min_size=1, max_size=6), unique=True))
def test_no_two_annotators_share_a_name(annotators):
    paths = {f"/{name.strip('/')}" if name.startswith("/") else name for name in annotators}
    assert len({*short_names(paths).values()}) == len(paths)
