"""Which Parquet files hold rows of the same batches. No I/O."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from uuid import UUID


def sharing(files: Mapping[str, Collection[UUID]]) -> list[list[str]]:
    """Keys of files that have a batch in common, directly or through others, beside each other.

    files: key -> batches. Each key is in one group, groups are in order of their first key. What
    the pipeline makes shares nothing: then each is alone.
    """
    having: dict[UUID, list[str]] = defaultdict(list)
    for key, batch_ids in files.items():
        for batch_id in batch_ids:
            having[batch_id].append(key)
    groups: list[list[str]] = []
    seen: set[str] = set()
    for first in files:
        group, left = set[str](), [first]
        while left:
            key = left.pop()
            if key not in seen:
                seen.add(key)
                group.add(key)
                left += [other for batch_id in files[key] for other in having[batch_id]]
        if group:
            groups.append(sorted(group))
    return groups
