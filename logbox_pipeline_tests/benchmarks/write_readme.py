"""Put the newest saved results into README.

python -m logbox_pipeline_tests.benchmarks.write_readme
"""

from pathlib import Path

from logbox_pipeline.benchmark.readme import markdown, put_into
from logbox_pipeline.benchmark.results import newest, saved


def main() -> None:
    readme = Path(__file__).parents[2] / "README.md"
    readme.write_text(put_into(readme.read_text(), markdown(newest(saved()))))


if __name__ == "__main__":
    main()
