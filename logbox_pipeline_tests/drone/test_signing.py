from datetime import UTC, datetime, timedelta

import pytest

from logbox_pipeline.drone.signing import ClockOffset

SERVER = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"date": "Tue, 06 May 2031 07:08:09 GMT"}, {}),
        ({"date": "nonsense"}, {"ServerTime": "2031-05-06T07:08:09Z"}),
        (
            {},
            {
                "Message": "Signature expired: 20310503T070809Z is now earlier than "
                "20310506T065309Z (20310506T070809Z - 15 min.)"
            },
        ),
    ],
)
def test_servers_time_is_learned(headers: dict[str, str], error: dict[str, str]) -> None:
    clock = ClockOffset()
    assert clock.learn(headers, error) == clock.offset
    assert abs(datetime.now(UTC) + clock.offset - SERVER) < timedelta(seconds=5)


def test_answer_without_a_time_teaches_nothing() -> None:
    clock = ClockOffset()
    assert clock.learn({}, {"Message": "no"}) is None
    assert clock.offset == timedelta(0)
