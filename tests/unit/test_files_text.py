"""Text becomes a value only when nothing of it is lost."""

from __future__ import annotations

import decimal
from collections.abc import Iterator
from contextlib import closing

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit.connectors.files import duck, text


@pytest.fixture(scope="module")
def connection() -> Iterator[duck.Connection]:
    with closing(duck.connect()) as opened:
        yield opened


def texts(*values: str | None) -> pa.StringArray:
    return pa.array(values, pa.string())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("1", "-20", "0"), "bigint"),
        (("9223372036854775807",), "bigint"),
        (("9223372036854775808",), "text"),
        (("1", None, "1.5", "10.0"), "double"),
        (("0.30000000000000004", "1e-07", "3"), "double"),
        (("12.50", "3.99"), "decimal(38,2)"),
        (("0.1234567890123456789",), "decimal(38,19)"),
        (("true", "false"), "boolean"),
        (("2024-01-31",), "date"),
        (("2024-01-31 10:00:00", "2024-01-31T10:00:00.5"), "timestamp"),
        (("2024-01-31T10:00:00Z", "2024-01-31 10:00:00+05:30"), "timestamptz"),
    ],
)
def test_a_type_is_inferred_when_every_value_is_written_as_it_prints(values: tuple[str], expected: str) -> None:
    assert text.type_name(text.infer(texts(*values)).type) == expected


@pytest.mark.parametrize(
    "values",
    [
        ("00501", "1"), ("+5",), ("1", "1E5"), ("0x1F",), (" 1",), ("1.10", "1.1"), ("-0.00",), ("nan",), ("inf",),
        ("N",), ("None",), ("N/A",), ("",), (None,), ("True",), ("t",), ("1_000",), ("1,5",), ("12/31/2024",),
        ("2024-1-1",), ("2024-02-30",),
        ("0000-01-01",), ("12:30:00",), ("2024-01-31 10:00:00.123456789",), ("2024-01-31", "2024"),
    ],
)  # fmt: skip
def test_what_a_type_would_change_stays_text(values: tuple[str | None]) -> None:
    assert text.infer(texts(*values)).type == pa.string()


@given(st.lists(st.text(alphabet="0123456789.-+eE ", max_size=12), min_size=1))
def test_an_inferred_number_prints_as_the_number_that_was_written(values: list[str]) -> None:
    typed = text.infer(texts(*values))
    if typed.form:
        parsed = text.parse_inferred(texts(*values), typed).to_pylist()
        assert [decimal.Decimal(repr(value).removeprefix("Decimal('").removesuffix("')")) for value in parsed] == [
            decimal.Decimal(value) for value in values
        ]


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (pa.int64(), "1.5"),
        (pa.int64(), "0x1f"),
        (pa.int16(), "40000"),
        (pa.decimal128(10, 2), "1.239"),
        (pa.float64(), "1e999"),
        (pa.date32(), "2024-01-01 10:00:00"),
        (pa.timestamp("us"), "2024-01-01 10:00:00+02"),
        (pa.timestamp("us"), "2024-01-01 10:00:00.123456789"),
        (pa.timestamp("us", "UTC"), "2024-01-01 10:00:00"),
        (pa.bool_(), "perhaps"),
        (pa.uuid(), "not-a-uuid"),
        (pa.binary(), "abc"),
        (pa.json_(), "{a"),
    ],
)
def test_a_declared_type_refuses_what_it_would_round_or_cut(
    type_: pa.DataType, value: str, connection: duck.Connection
) -> None:
    with pytest.raises(text.Misfit) as caught:
        text.parse_declared(texts(None, value), type_, connection)
    assert caught.value.row == 1


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (pa.int64(), " 00501 ", "501"),
        (pa.int64(), "+5", "5"),
        (pa.decimal128(10, 2), "1.5", "1.50"),
        (pa.time64("us"), "12:30:00.5", "12:30:00.500000"),
        (pa.timestamp("us", "UTC"), "2024-01-01 10:00:00+02", "2024-01-01 08:00:00+00:00"),
        (pa.uuid(), "00000000000000000000000000000005", "00000000-0000-0000-0000-000000000005"),
        (pa.binary(), r"\x00FF", r"b'\x00\xff'"),
        (pa.json_(), '{"a": 1.10}', '{"a": 1.10}'),
        (pa.float64(), "-inf", "-inf"),
    ],
)
def test_a_declared_type_is_read_as_it_is_usually_written(
    type_: pa.DataType, value: str, expected: str, connection: duck.Connection
) -> None:
    parsed = text.parse_declared(texts(value, None), type_, connection)
    assert str(parsed[0].as_py()) == expected
    assert parsed[1].as_py() is None


_SPELLINGS = [
    "0", "-0", "00", "7", "-7", "007", "+7", " 7", "7 ", "0x1F", "9223372036854775807", "9223372036854775808",
    "true", "false", "TRUE", "t", "1", "", "2020-01-01", "2020-01-01 10", "2020-01-01T10:20", "2020-01-01 10:20:30",
    "2020-01-01T10:20:30", "2020-01-01 102030", "2020-01-01 10:20:30.", "2020-01-01 10:20:30.1",
    "2020-01-01 10:20:30.123456", "2020-01-01 10:20:30.1234567", "0000-12-31 10:20:30", "0001-01-01 00:00:00",
    "0001-01-01 00:00:00+05", "9999-12-31 23:59:59.999999", "2020-01-01 24:00:00", "2020-01-01t10:20:30",
    *(f"2020-01-01 {clock}{zone}" for clock in ("10", "1020", "10:20", "10:20:30", "102030", "10:20:30.5")
      for zone in ("Z", "z", "+00", "+0530", "+05:30", "-05", "+5", " +00", "+05:30:00")),
]  # fmt: skip


@pytest.mark.parametrize("alteration", ["{}", "{}0", "0{}", "-{}", "{} ", "{}é"])
def test_the_quick_look_at_a_column_takes_nothing_that_the_pattern_refuses(alteration: str) -> None:
    candidates = [one for one in text._candidates(pa.array(["1.5"])) if not pa.types.is_decimal(one.type)]
    taken = 0
    for spelling in (alteration.format(one) for one in _SPELLINGS):
        for candidate in candidates:
            values = pa.array([spelling, None], pa.string())
            if text._parsed_quickly(values, candidate.type) is not None:
                text._require_form(values, candidate.form)
                taken += 1
    assert taken or alteration not in ("{}", "{}0")
