"""Reports, plans and rows as plain text for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conduit.arrow import pa
    from conduit.plan import ResourcePlan
    from conduit.report import Report, ResourceReport


def report_text(report: Report) -> str:
    """One paragraph per resource, and a last line that counts them."""
    failed = sum(1 for resource in report.resources if resource.exit_code)
    rows = sum(resource.written for resource in report.resources)
    last = f"{len(report.resources) - failed} ok, {failed} failed, {rows:,} rows written (run {report.run_id})"
    notes = [f"note: {note}" for note in report.notes]
    return "\n".join([*(_resource_text(resource) for resource in report.resources), *notes, last])


def _resource_text(report: ResourceReport) -> str:
    lines = [f"{report.resource}: {report.status}{_rate(report)}"]
    if report.read or report.written:
        lines.append(f"  {report.equation()}{_changes(report)}, {report.commits} commit{'s' * (report.commits != 1)}")
    if report.until is not None:
        moved = f"{report.since!r} -> {report.until!r}" if report.since != report.until else f"{report.until!r}"
        lines.append(f"  watermark {moved}")
    lines += [f"  note: {note}" for note in report.notes]
    if report.error:
        lines.append("  error: " + report.error.replace("\n", "\n  "))
    return "\n".join(lines)


def _rate(report: ResourceReport) -> str:
    rate = f", {report.written / report.seconds:,.0f} rows/s" if report.written and report.seconds else ""
    return f" ({report.seconds:.2f} s{rate})"


def _changes(report: ResourceReport) -> str:
    return f" ({report.inserted:,} inserted, {report.updated:,} updated)" if report.updated else ""


def plan_text(plan: ResourcePlan) -> str:
    """The plan of one resource."""
    lines = [f"{plan.resource}: {plan.mode} into {plan.table}"]
    if plan.error:
        return "\n".join([*lines, "  error: " + plan.error.replace("\n", "\n  ")])
    lines.append(f"  window: above {_bound(plan)} up to {_end(plan)}")
    if plan.query and plan.query != plan.sql:
        lines.append(f"  query: {_indented(plan.query)}")
    if plan.sql:
        lines.append(f"  sent: {_indented(plan.sql)}")
    if plan.ranges:
        lines.append(f"  ranges: {len(plan.ranges)} in {plan.commits} commit{'s' * (plan.commits != 1)}")
        lines.append(f"  the first: {_indented(plan.range_sql)}")
    lines.append(f"  rows: {_rows(plan)}")
    lines += [f"  change: {change}" for change in plan.changes]
    lines += [f"  DESTRUCTIVE: {step}" for step in plan.destructive]
    lines += [f"  note: {note}" for note in plan.notes]
    return "\n".join(lines)


def _bound(plan: ResourcePlan) -> str:
    if plan.bound is None:
        return "nothing (all rows)"
    return plan.bound if str(plan.since) == plan.bound or plan.since is None else f"{plan.bound} (mark {plan.since!r})"


def _end(plan: ResourcePlan) -> str:
    return repr(plan.until) if plan.until is not None else "the source's snapshot"


def _rows(plan: ResourcePlan) -> str:
    if plan.nothing_new:
        return "nothing new"
    if plan.rows is None:
        return "unknown before they are read"
    return f"{plan.rows:,}" if plan.rows_exact else f"about {plan.rows:,}"


def _indented(text: str) -> str:
    return text.strip().replace("\n", "\n    ")


def preview_text(rows: pa.Table, output: str) -> str:
    """A few rows as aligned text, or as JSON."""
    records = rows.to_pylist()
    if output == "json":
        return json.dumps(records, indent=2, default=str)
    names = rows.schema.names
    cells = [names, *([_cell(record[name]) for name in names] for record in records)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(names))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([*lines, f"{len(records)} rows; nothing was written"])


def _cell(value: object) -> str:
    text = "NULL" if value is None else str(value).replace("\n", "\\n")
    return text if len(text) <= 40 else text[:37] + "..."
