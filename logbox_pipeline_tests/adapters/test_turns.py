from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from logbox_pipeline.adapters.postgres import connect, transaction
from logbox_pipeline.adapters.turns import Turn, is_taken, keep_free, turn

Pair = tuple[Any, Any]


@pytest.fixture
def two(database: str) -> Iterator[Pair]:
    with closing(connect(database)) as one, closing(connect(database)) as other:
        yield one, other


def is_to_be_had(connection: Any, what: str) -> bool:
    with turn(connection, what) as is_ours:
        return is_ours


def lose_and_fail(one: Any, other: Any) -> None:
    with transaction(other) as cursor:
        cursor.execute("select pg_terminate_backend(%s, 10000)", (one.info.backend_pid,))
    raise ZeroDivisionError


def test_one_at_a_time_has_the_turn_and_others_have_other_turns(two: Pair) -> None:
    one, other = two
    with turn(one, Turn.DRILL) as is_ours:
        assert is_ours
        assert not is_to_be_had(other, Turn.DRILL)
        assert not is_to_be_had(other, Turn.DRILL), "a refusal gave it back"
        assert is_to_be_had(other, Turn.COMPACTION)


def test_it_is_given_back_while_the_connection_stays_open(two: Pair) -> None:
    one, other = two
    with pytest.raises(ZeroDivisionError), turn(one, Turn.DRILL):
        raise ZeroDivisionError
    assert is_to_be_had(other, Turn.DRILL)
    assert is_to_be_had(one, Turn.DRILL)


def test_a_lost_connection_hides_no_error_of_the_work(two: Pair) -> None:
    one, other = two
    with pytest.raises(ZeroDivisionError), turn(one, Turn.DRILL):
        lose_and_fail(one, other)
    assert is_to_be_had(other, Turn.DRILL)


def test_others_see_that_it_is_taken_and_can_keep_it_free(two: Pair) -> None:
    one, other = two
    with transaction(other) as cursor:
        assert not is_taken(cursor, Turn.REPLICATION)
        assert keep_free(cursor, Turn.REPLICATION)
        assert not is_to_be_had(one, Turn.REPLICATION)
    with turn(one, Turn.REPLICATION), transaction(other) as cursor:
        assert is_taken(cursor, Turn.REPLICATION)
        assert not is_taken(cursor, Turn.DRILL)
        assert not keep_free(cursor, Turn.REPLICATION)
