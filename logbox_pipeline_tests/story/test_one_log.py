from logbox_pipeline_tests import journey


def test_x(site):
    journey.upload(site, "landing/acme/d1/a.jsonl", b'{"msg":"hi"}\n')
    r = journey.ingest_all(site)
    print(r, journey.deliveries(site))


def test_y(site):
    pass
