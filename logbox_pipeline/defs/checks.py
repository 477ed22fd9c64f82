"""Asset checks. Sticky: they read the catalog, so what is wrong stays visible until it is mended,
released or acknowledged. Bad files warn; only broken machinery is an error."""

from collections.abc import Iterator

import dagster as dg

from logbox_pipeline.core.shown import one_line
from logbox_pipeline.defs.report import shown
from logbox_pipeline.defs.resources import SiteResource
from logbox_pipeline.steps.agree import compare_recent
from logbox_pipeline.steps.drill import judge_drill
from logbox_pipeline.steps.judge import Judgement, judge, judge_requests


def _result(found: Judgement) -> dg.AssetCheckResult:
    metadata: dict[str, dg.MetadataValue] = {"open": dg.MetadataValue.int(found.count)}
    if found.rows:
        metadata["found"] = dg.MetadataValue.table(
            [
                dg.TableRecord({name: shown(value) for name, value in row.items()})
                for row in found.rows
            ]
        )
        metadata["next"] = dg.MetadataValue.text(found.next_command)
    return dg.AssetCheckResult(
        asset_key=found.asset,
        check_name=found.check,
        passed=found.passed,
        severity=dg.AssetCheckSeverity.ERROR if found.is_error else dg.AssetCheckSeverity.WARN,
        description=one_line(found.sentence),
        metadata=metadata,
    )


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(
            "no_open_refusals",
            asset="verified_logs",
            description="No refused or unread file that nobody has released or acknowledged.",
        ),
        dg.AssetCheckSpec(
            "landing_is_clear",
            asset="archived_logs",
            description="Nothing stands in landing for longer than LOGBOX_STALE_AFTER_S.",
        ),
        dg.AssetCheckSpec(
            "no_open_drift",
            asset="reconciliation",
            description="What is stored is what the catalog says is stored.",
        ),
        dg.AssetCheckSpec(
            "reconciliation_is_recent",
            asset="reconciliation",
            description="Everything was compared by count within two hours, by digest within two "
            "days.",
        ),
        dg.AssetCheckSpec(
            "freshness_promise",
            asset="loaded_logs",
            description="Every log is done within LOGBOX_FRESHNESS_PROMISE_S of its arrival.",
        ),
        dg.AssetCheckSpec(
            "replica_is_caught_up",
            asset="replicated_logs",
            description="The replica has whatever was archived over LOGBOX_REPLICA_LAG_S ago.",
        ),
    ],
    can_subset=True,
)
def catalog_checks(
    context: dg.AssetCheckExecutionContext, site: SiteResource
) -> Iterator[dg.AssetCheckResult]:
    for found in judge(site.open()):
        if (
            dg.AssetCheckKey(dg.AssetKey(found.asset), found.check)
            in context.selected_asset_check_keys
        ):
            yield _result(found)


@dg.asset_check(
    asset="loaded_logs",
    name="postgres_equals_parquet",
    description="Each table has as many rows in Postgres as in its Parquet files, batch by batch.",
)
def row_count_check(site: SiteResource) -> dg.AssetCheckResult:
    return _result(compare_recent(site.open()))


@dg.asset_check(
    asset="received_logs",
    name="no_refused_requests",
    additional_deps=["access_log"],
    description="No request was refused within LOGBOX_REFUSED_REQUESTS_H.",
)
def refused_requests_check(site: SiteResource) -> dg.AssetCheckResult:
    return _result(judge_requests(site.open()))


@dg.asset_check(
    asset="recovery_drill",
    name="recovery_is_rehearsed",
    description="The last drill found the rebuilt days equal, and is not over a week old.",
)
def drill_check(site: SiteResource) -> dg.AssetCheckResult:
    return _result(judge_drill(site.open()))
