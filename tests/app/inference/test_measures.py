"""What serving counts, by itself and as Prometheus reads it."""

import threading
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from app.inference.measures import BUCKETS, MOST_VERSIONS, REASONS, STAGES, Measures, Stages
from tests.fixtures.samples import samples

FAST = Stages(queue=0.0004, input=0.001, infer=0.02, output=30.0)
CAT_1 = (("model", "cat"), ("version", "1"))


def test_what_was_counted_is_read() -> None:
    measures = Measures()
    measures.answered("cat", 1, FAST, pictures=3)
    measures.answered("cat", 1, FAST)
    measures.failed("cat", 1, "deadline", pictures=2)
    measures.ran("cat", 1, 4)
    measures.keep([("cat", 2)])
    read = measures.read()
    assert list(read) == [("cat", 1), ("cat", 2)]
    one, two = read.values()
    assert one.answered == 4
    assert one.failed["deadline"] == sum(one.failed.values()) == 2
    assert [sum(stage.counts) for stage in one.stages] == [2, 2, 2, 2]
    assert (one.runs, one.run_pictures) == (1, 4)
    assert (two.answered, two.runs, sum(two.failed.values())) == (0, 0, 0)


def test_a_value_on_a_bound_is_in_its_bucket_and_one_above_all_in_the_last() -> None:
    measures = Measures()
    measures.answered("cat", 1, FAST)
    by_stage = dict(zip(STAGES, measures.read()["cat", 1].stages, strict=True))
    assert by_stage["queue"].counts[0] == by_stage["input"].counts[0] == 1
    assert by_stage["infer"].counts[BUCKETS.index(0.025)] == 1
    assert by_stage["output"].counts[-1] == 1
    assert by_stage["output"].total == 30.0


def test_a_reason_outside_of_the_list_is_none() -> None:
    measures = Measures()
    with pytest.raises(KeyError):
        measures.failed("cat", 1, "'; DROP TABLE", 1)  # type: ignore[arg-type]


def test_what_was_read_stays_as_it_was() -> None:
    measures = Measures()
    measures.answered("cat", 1, FAST)
    read = measures.read()["cat", 1]
    measures.answered("cat", 1, FAST)
    measures.failed("cat", 1, "closed")
    assert (read.answered, read.failed["closed"], read.stages[0].total) == (1, 0, FAST.queue)


def test_versions_are_bounded_and_those_counted_last_are_kept() -> None:
    measures = Measures()
    measures.ran("live", 1, 1)
    for version in range(3 * MOST_VERSIONS):
        measures.ran("named", version, 1)
        measures.ran("live", 1, 1)
    read = measures.read()
    assert len(read) == MOST_VERSIONS
    assert read["live", 1].runs == 3 * MOST_VERSIONS + 1
    assert ("named", 0) not in read


def test_what_is_loaded_is_read_and_what_is_not_once() -> None:
    measures = Measures()
    measures.ran("cat", 1, 1)
    measures.ran("cat", 2, 1)
    for _ in range(2):
        measures.keep([("cat", 2), ("cat", 3)])
        read = measures.read()
        assert [figures.runs for key, figures in read.items() if key[1] > 1] == [1, 0]
    assert list(read) == [("cat", 2), ("cat", 3)]
    measures.ran("cat", 1, 1)  # one that was forgotten while it answered
    measures.keep([])
    assert list(measures.read()) == [("cat", 1)]
    measures.keep([])
    assert measures.read() == {}


def test_many_loaded_versions_push_out_none_that_answers() -> None:
    measures = Measures()
    measures.ran("cat", 1, 1)
    measures.keep([("dog", number) for number in range(2 * MOST_VERSIONS)])
    read = measures.read()
    assert len(read) == MOST_VERSIONS
    assert read["cat", 1].runs == 1


def test_no_count_is_lost_between_threads() -> None:
    measures, times, threads = Measures(), 500, 4

    def count() -> None:
        for _ in range(times):
            measures.answered("cat", 1, FAST)
            measures.read()

    working = [threading.Thread(target=count) for _ in range(threads)]
    for each in working:
        each.start()
    for each in working:
        each.join()
    figures = measures.read()["cat", 1]
    assert figures.answered == sum(figures.stages[0].counts) == times * threads


def test_prometheus_reads_every_figure(client: TestClient) -> None:
    measures: Measures = client.app.state.services.inference.measures  # type: ignore[attr-defined]
    measures.answered("cat", 1, FAST, pictures=3)
    measures.answered("cat", 1, replace(FAST, queue=0.3))
    measures.failed("cat", 1, "overloaded", pictures=2)
    measures.ran("cat", 1, 5)
    read = samples(client)
    assert read["sats_inference_request_success_total", *CAT_1] == 4
    assert read["sats_inference_count_total", *CAT_1] == 5
    assert read["sats_inference_exec_count_total", *CAT_1] == 1
    for reason in REASONS:
        labels = (CAT_1[0], ("reason", reason), CAT_1[1])
        failed = 2 if reason == "overloaded" else 0
        assert read["sats_inference_request_failure_total", *labels] == failed
    queue = "sats_inference_queue_seconds"
    buckets = {
        bound: read[f"{queue}_bucket", ("le", str(bound)), *CAT_1] for bound in (*BUCKETS, "+Inf")
    }
    assert list(buckets.values()) == sorted(buckets.values())
    assert (buckets[0.001], buckets[0.25], buckets[0.5], buckets["+Inf"]) == (1, 1, 2, 2)
    assert read[f"{queue}_count", *CAT_1] == 2
    assert read[f"{queue}_sum", *CAT_1] == pytest.approx(0.3004)
    assert read["sats_inference_output_seconds_sum", *CAT_1] == 60


def test_prometheus_reads_the_room(client: TestClient) -> None:
    services = client.app.state.services  # type: ignore[attr-defined]
    settings, inference = services.settings, services.inference
    with inference.reserve(3), inference.memory.hold(1000):
        read = samples(client)
    assert read["sats_inference_pending_pictures",] == 3
    assert read["sats_inference_free_pictures",] == settings.serve_queue - 3
    assert read["sats_inference_pending_bytes",] == 1000
    assert read["sats_inference_free_bytes",] == settings.serve_bytes - 1000
