"""Requests of a year, by formula: two thousand a second are not followed one by one.

For each hour of the day a replica is a queue of its own, M/G/k: requests come at random (a balancer
that knows nothing), `k` lanes answer. The wait is Erlang's C with the Allen-Cunneen correction for
how answers' times spread; what finds the queue full is refused, by M/M/k/K. Caches that drop what
was used longest ago are Che's approximation. So figures are of a steady hour, without its seconds.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.simulated_company import is_large, swing
from benchmarks.simulated_inputs import MIB, Assumptions, Measured, Rules

MEASURED_ON = 2
"""Processors of the replica whose answers a second were measured, a lane each."""


def waits_at_all(lanes: int, load: float) -> float:
    """Return the share of those who wait in M/M/k (Erlang's C).

    Args:
        lanes: k.
        load: arrivals a second times the seconds of one, below `lanes`.
    """
    free, term = 1.0, 1.0
    for busy in range(1, lanes):
        term *= load / busy
        free += term
    full = term * load / lanes / (1 - load / lanes)
    return full / (free + full)


def mean_wait(lanes: int, load: float, seconds: float, spread: float) -> float:
    """Return the mean seconds that those wait in M/G/k who do wait, after Allen and Cunneen.

    Args:
        lanes: k.
        load: as above.
        seconds: that one takes, mean.
        spread: variance of that over its mean squared; 1 is M/M/k, 0 is M/D/k.
    """
    return seconds / (lanes - load) * (1 + spread) / 2


def refused(lanes: int, places: int, load: float) -> float:
    """Return the share that finds all lanes busy and all places taken, in M/M/k/(k + places)."""
    weights, weight = [1.0], 1.0
    for there in range(1, lanes + places + 1):
        weight *= load / min(there, lanes)
        weights.append(weight)
    return weight / sum(weights)


def lru_misses(sizes: Sequence[float], rates: Sequence[float], room: float) -> list[float]:
    """Return how often a second each item is asked for and is not in an LRU cache (Che).

    Args:
        sizes: of the items.
        rates: how often a second each is asked for.
        room: of the cache; items larger than what is left go in all the same.
    """
    if sum(size for size, rate in zip(sizes, rates, strict=True) if rate) <= room:
        return [0.0] * len(sizes)

    def kept(age: float) -> float:
        return sum(size * -math.expm1(-rate * age) for size, rate in zip(sizes, rates, strict=True))

    age = solved(kept, room, 1.0)
    return [rate * math.exp(-rate * age) for rate in rates]


def solved(rising: Callable[[float], float], wanted: float, guess: float) -> float:
    """Return where a rising function of positive numbers takes a value."""
    high = guess
    while rising(high) < wanted:
        high *= 2
    low = 0.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return high


@dataclass(frozen=True)
class Traffic:
    """What answering takes; per second, seconds, bytes.

    Attributes:
        replicas: API processes, each with a machine, both regions together, bought for the peak.
        peak: requests in the busiest hour.
        answer_seconds: of a lane, one answer, mean over the models.
        wait_p50, wait_p99, wait_p999: of a request in a replica's queue, over the whole year.
        refused_share: of the year's requests, with both regions up.
        live_bytes: of the graphs that every process holds.
        process_bytes: memory of one.
        start_seconds: until a new replica has all live versions loaded.
        graph_misses: requests for older versions that find their graph not loaded, of all such.
        named_fetches: bytes fetched from the store for them, a process.
        loader_use: share of the time that the thread which loads those is busy.
        page_processors: of all replicas' processors, what people's pages take.
        key_questions: of keys, to the database, all replicas.
        key_questions_share: of requests that ask it.
        key_uses: times of last use that processes write, most of them not due: another did.
    """

    replicas: int
    peak: float
    answer_seconds: float
    wait_p50: float
    wait_p99: float
    wait_p999: float
    refused_share: float
    live_bytes: float
    process_bytes: float
    start_seconds: float
    graph_misses: float
    named_fetches: float
    loader_use: float
    page_processors: float
    key_questions: float
    key_questions_share: float
    key_uses: float


def traffic(assumed: Assumptions, seen: Measured, rules: Rules) -> Traffic:
    """Work out a year of requests.

    Raises:
        ValueError: replicas are bought for all of their answers or more: queues have no end.
    """
    if not 0 < assumed.api_use < 1:
        raise ValueError(f"api_use is between 0 and 1, not {assumed.api_use}")
    service = answer_seconds(assumed, seen)
    lanes = int(assumed.api_processors)
    by_hour = [assumed.requests_a_second * share for share in swing(assumed)]
    replicas = fleet(assumed, seen)
    spread = _spread(assumed)
    rates = [rate / replicas for rate in by_hour]
    weights = graph_bytes(assumed)
    live = sum(weights)
    each = assumed.requests_a_second * assumed.named_share / replicas
    misses, fetched, busy = _named(assumed, rules, weights, each)
    pairs = replicas * assumed.keys
    asked = assumed.requests_a_second / pairs
    questions = pairs * asked / (1 + asked * rules.key_cache)
    return Traffic(
        replicas=replicas,
        peak=max(by_hour),
        answer_seconds=service,
        wait_p50=_wait_by(0.5, lanes, rates, service, spread),
        wait_p99=_wait_by(0.99, lanes, rates, service, spread),
        wait_p999=_wait_by(0.999, lanes, rates, service, spread),
        refused_share=sum(r * refused(lanes, rules.serve_queue, r * service) for r in rates)
        / sum(rates),
        live_bytes=live,
        process_bytes=seen.process_mib * MIB
        + assumed.graph_memory
        * (live + min(rules.spare_graph_bytes, live * assumed.named_versions)),
        start_seconds=seen.start_seconds + sum(load_seconds(one, assumed) for one in weights),
        graph_misses=misses,
        named_fetches=fetched,
        loader_use=busy,
        page_processors=assumed.page_calls_a_second
        * (seen.task_page_ms + seen.tasks_page_ms)
        / 2000,
        key_questions=questions,
        key_questions_share=questions / assumed.requests_a_second,
        key_uses=pairs * asked / (1 + asked * rules.key_use),
    )


def fleet(assumed: Assumptions, seen: Measured) -> int:
    """Return how many replicas are bought: for the busiest hour, an even number, both regions."""
    peak = assumed.requests_a_second * max(swing(assumed))
    lanes = int(assumed.api_processors)
    bears = lanes / answer_seconds(assumed, seen) * assumed.api_use
    return 2 * math.ceil(peak / bears / 2)


def answer_seconds(assumed: Assumptions, seen: Measured) -> float:
    """Return how long a lane takes for an answer, mean over the models."""
    return MEASURED_ON / seen.answers_a_second * _mean_cost(assumed)


def graph_bytes(assumed: Assumptions) -> list[float]:
    """Return the bytes of each model's live graph."""
    return [
        assumed.large_bytes if is_large(model, assumed) else assumed.small_bytes
        for model in range(int(assumed.models))
    ]


def load_seconds(size: float, assumed: Assumptions) -> float:
    """Return how long a graph takes from the store to its first answer, on a loader's thread."""
    return _fetch_seconds(size, assumed) + _warm_seconds(size, assumed)


def _fetch_seconds(size: float, assumed: Assumptions) -> float:
    return assumed.store_latency + size / assumed.store_host_bytes


def _warm_seconds(size: float, assumed: Assumptions) -> float:
    return assumed.graph_load_seconds * size / assumed.small_bytes


def refused_by_half(assumed: Assumptions, seen: Measured, rules: Rules, hour: int) -> float:
    """Return the share that is refused while one region's replicas answer for both."""
    rate = assumed.requests_a_second * swing(assumed)[hour] / (fleet(assumed, seen) / 2)
    load = rate * answer_seconds(assumed, seen)
    return refused(int(assumed.api_processors), rules.serve_queue, load)


def _mean_cost(assumed: Assumptions) -> float:
    """Return an answer's cost over mit_b0's, requests being spread evenly over the models."""
    return 1 + assumed.large_share * (assumed.large_cost - 1)


def _spread(assumed: Assumptions) -> float:
    """Return the variance of an answer's time over its mean squared, over all models."""
    squares = 1 + assumed.large_share * (assumed.large_cost**2 - 1)
    return (1 + assumed.api_spread**2) * squares / _mean_cost(assumed) ** 2 - 1


def _wait_by(
    share: float, lanes: int, rates: Sequence[float], seconds: float, spread: float
) -> float:
    """Return the wait that so many of a day's requests stay below; waits are exponential."""
    all_of = sum(rates)

    def below(wait: float) -> float:
        over = 0.0
        for rate in rates:
            load = rate * seconds
            mean = mean_wait(lanes, load, seconds, spread)
            over += rate * waits_at_all(lanes, load) * math.exp(-wait / mean)
        return 1 - over / all_of

    return 0.0 if below(0.0) >= share else solved(below, share, 0.001)


def _named(
    assumed: Assumptions, rules: Rules, weights: Sequence[float], each: float
) -> tuple[float, float, float]:
    """Return what requests for older versions come to in one process.

    Returns:
        The share whose graph is not loaded, bytes fetched a second because the host's cache of
        files has it neither, and the share of the time in which the one loader is busy.
    """
    ranks = range(1, int(assumed.named_versions) + 1)
    sizes = [size for size in weights for _ in ranks]
    share = [1 / ((model + 1) * rank) for model in range(len(weights)) for rank in ranks]
    whole = sum(share)
    rates = [each * one / whole for one in share]
    missed = lru_misses(sizes, rates, rules.spare_graph_bytes)
    fetched = lru_misses(sizes, missed, rules.blob_cache_bytes)
    busy = sum(
        load * _warm_seconds(size, assumed) + fetch * _fetch_seconds(size, assumed)
        for size, load, fetch in zip(sizes, missed, fetched, strict=True)
    )
    moved = sum(size * fetch for size, fetch in zip(sizes, fetched, strict=True))
    return (sum(missed) / each if each else 0.0), moved, busy
