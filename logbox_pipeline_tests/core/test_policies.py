import pytest
from hypothesis import given
from hypothesis import strategies as st

from logbox_pipeline.core import policies
from logbox_pipeline.core.keys import MAX_KEY_BYTES
from logbox_pipeline.drone import target

CLIENTS = st.from_regex(r"[a-z0-9][a-z0-9-]{1,30}[a-z0-9]", fullmatch=True)
VEHICLES = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", fullmatch=True)


@given(CLIENTS, st.none() | VEHICLES, CLIENTS, st.none() | VEHICLES)
def test_two_keys_never_share_a_user(
    client: str, vehicle: str | None, other: str, other_vehicle: str | None
) -> None:
    first = policies.client_user(client, vehicle)
    second = policies.client_user(other, other_vehicle)
    assert len(first) <= policies.MAX_IAM_USER
    # IAM does not tell upper from lower case.
    same = first.lower() == second.lower()
    assert same == ((client, vehicle) == (other, other_vehicle))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a-b", None), ("a", "b")),
        (("acme-2", "v"), ("acme", "2.v")),
        (("acme", "V1"), ("acme", "v1")),
        (("acme", "x" * 64), ("acme", "x" * 63)),
    ],
)
def test_user_names_that_look_alike_differ(
    one: tuple[str, str | None], other: tuple[str, str | None]
) -> None:
    if len(one[0]) < 3 or len(other[0]) < 3:
        one, other = ("ab" + one[0], one[1]), ("ab" + other[0], other[1])
    assert policies.client_user(*one).lower() != policies.client_user(*other).lower()


@pytest.mark.parametrize("vehicle", ["*", "a*", "a?", "${aws:username}", "a/b", "..", ".", ""])
def test_wildcards_never_reach_a_policy(vehicle: str) -> None:
    with pytest.raises(ValueError, match="no vehicle's name"):
        policies.client_policy("logbox-landing", "acme", vehicle)
    with pytest.raises(ValueError, match="no client's name"):
        policies.client_policy("logbox-landing", vehicle)
    with pytest.raises(ValueError, match="no bucket's name"):
        policies.client_policy(vehicle, "acme")


@given(st.text(max_size=70))
def test_drone_and_pipeline_agree_on_vehicle_names(name: str) -> None:
    assert target.is_vehicle_name(name) == policies.is_vehicle_name(name)


def test_drone_and_pipeline_agree_on_the_longest_key() -> None:
    assert target.MAX_KEY_BYTES == MAX_KEY_BYTES
