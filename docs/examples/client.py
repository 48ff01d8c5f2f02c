#!/usr/bin/env python3
"""A client of Quorate without generated code: it asks the coordinators what they speak.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python client.py --endpoints 10.0.0.1:7401,10.0.0.2:7401,10.0.0.3:7401 orders h1 h2 h3

It finds the leader, creates a group, asks for a failover twice under one request id, and follows the operation and the
event watch. With --through-a-change-of-leader it then waits for a line on its input, asks for another failover, and waits
until somebody ends the leading coordinator in the middle of it: it goes on with the watch at another one where it had
stopped, follows the operation to its end, and shows that a repeated request still has one effect.

docs/client.md explains every step. The exit code is 0 only if everything came about as that page promises.
"""

import argparse
import collections
import itertools
import sys
import threading
import time
import uuid

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

# One try and all tries of a call, in seconds. A failover may have to wait out the old primary's lease.
TRY_TIMEOUT = 3.0
DEADLINE = 30.0
OPERATION_DEADLINE = 120.0

# What the same request may fare better with, at the same coordinator or at another one.
TRANSIENT = {"NOT_LEADER", "NO_LEADER", "NO_QUORUM", "OVERLOADED", "OUTCOME_UNKNOWN", "STOPPING", "TOO_LATE"}
# The transport's own failures: no answer, which says nothing about the effect of what was sent.
UNANSWERED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
# What comes of asking a coordinator what it speaks when it does not answer: nothing else was sent then.
UNDESCRIBED = (grpc.RpcError, KeyError, StopIteration)


def say(text):
    # In one piece: two threads speak.
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Refused(Exception):
    """An answer that another try would not change: branch on `reason`, never on the text."""

    def __init__(self, reason, message, metadata):
        super().__init__(f"{message} [{reason}]")
        self.reason, self.metadata = reason, metadata


class Patience(grpc.StreamStreamClientInterceptor):
    """Reflection is a stream, which has no deadline of its own."""

    class Details(
        collections.namedtuple("Details", "method timeout metadata credentials wait_for_ready compression"),
        grpc.ClientCallDetails,
    ):
        pass

    def intercept_stream_stream(self, continuation, client_call_details, request_iterator):
        given = client_call_details
        details = self.Details(
            given.method, TRY_TIMEOUT, given.metadata, given.credentials, given.wait_for_ready, given.compression
        )
        return continuation(details, request_iterator)


class Coordinator:
    """One connection, and the messages and services that the coordinator describes."""

    def __init__(self, address):
        self.address = address
        # A connection that is dead without a word is noticed after 13 seconds, also by a watch that waits. The last two are
        # needed for that: the library would wait a minute for its own ping, and soon send none where no data is sent.
        options = [
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 3_000),
            ("grpc.http2.ping_timeout_ms", 3_000),
            ("grpc.http2.max_pings_without_data", 0),
        ]
        self.channel = grpc.insecure_channel(address, options)
        self.database = ProtoReflectionDescriptorDatabase(grpc.intercept_channel(self.channel, Patience()))
        self.pool = descriptor_pool.DescriptorPool(self.database)

    def message(self, name):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))

    def method(self, service, name):
        """A callable for one method, and the class of its requests."""
        described = self.pool.FindServiceByName(service).methods_by_name[name]
        request = message_factory.GetMessageClass(described.input_type)
        response = message_factory.GetMessageClass(described.output_type)
        open_call = self.channel.unary_stream if described.server_streaming else self.channel.unary_unary
        call = open_call(
            f"/{service}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        return call, request

    def details(self, error):
        """ErrorInfo, RetryInfo and LeaderHint of an error; None for what it does not carry."""
        found = {}
        try:
            for key, value in error.trailing_metadata() or ():
                if key == "grpc-status-details-bin":
                    for packed in self.message("google.rpc.Status").FromString(value).details:
                        name = packed.type_url.rsplit("/", 1)[-1]
                        found[name] = self.message(name).FromString(packed.value)
        except UNDESCRIBED:
            # It died before it had described them: its status is all that there is.
            pass
        return tuple(
            found.get(name)
            for name in ("google.rpc.ErrorInfo", "google.rpc.RetryInfo", "quorate.types.v1.LeaderHint")
        )


class Client:
    """Asks the coordinator that leads, and tries again until a deadline."""

    def __init__(self, endpoints):
        self.coordinators = {address: Coordinator(address) for address in endpoints}
        self.round = itertools.cycle(endpoints)
        self.current = next(self.round)

    def at(self, address):
        """A hint may name a coordinator that was not given."""
        if address not in self.coordinators:
            self.coordinators[address] = Coordinator(address)
        return self.coordinators[address]

    def call(self, service, method, fields, deadline=DEADLINE, try_timeout=TRY_TIMEOUT):
        """Sends the same fields, and so the same request id, until there is an answer."""
        end, pause, hints, sent = time.monotonic() + deadline, 0.05, 0, False
        while True:
            coordinator = self.at(self.current)
            try:
                call, request = coordinator.method(f"quorate.control.v1.{service}", method)
            except UNDESCRIBED as error:
                self.current, last, wait = next(self.round), repr(error), 0.05
            else:
                sent = True
                try:
                    left = max(0.1, min(try_timeout, end - time.monotonic()))
                    return call(request(**fields), timeout=left)
                except grpc.RpcError as error:
                    last, wait = self.judge(coordinator, error)
            hints = hints + 1 if wait == 0 else 0
            if wait > 0 or hints > 3:
                pause = min(2 * pause, 1.0)
                time.sleep(max(wait, pause))
            if time.monotonic() > end:
                outcome = "the outcome is unknown" if sent else "nothing was sent"
                raise TimeoutError(f"{method}: no answer within {deadline} s, {outcome}: {last}")

    def judge(self, coordinator, error):
        """Chooses whom to ask next; how long to wait before. Raises what is final."""
        info, retry, hint = coordinator.details(error)
        reason = info.reason if info else error.code().name
        if info is None and error.code() not in UNANSWERED or info is not None and reason not in TRANSIENT:
            raise Refused(reason, error.details(), dict(info.metadata) if info else {})
        if hint and hint.api_address:
            self.current = hint.api_address
            return error.details(), 0
        self.current = next(self.round)
        wait = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9 if retry else 0.1
        return error.details(), wait

    def find_leader(self):
        """The coordinator that leads and can decide: its number and address."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            status = self.call("Cluster", "GetStatus", {})
            if status.can_decide:
                return status.coordinator_id, self.current
            # A follower names its leader; one that hears none names nobody.
            self.current = status.leader_api_address or next(self.round)
            time.sleep(0.1)
        raise TimeoutError("no coordinator leads")

    def health(self, address):
        """What the standard health service says of one coordinator."""
        try:
            call, request = self.at(address).method("grpc.health.v1.Health", "Check")
            answer = call(request(service="quorate.control.v1.Groups"), timeout=TRY_TIMEOUT)
            return answer.DESCRIPTOR.enum_types_by_name["ServingStatus"].values_by_number[answer.status].name
        except UNDESCRIBED:
            return "UNREACHABLE"

    def services(self, address):
        """What one coordinator serves, by its own word."""
        try:
            return self.at(address).database.get_services()
        except UNDESCRIBED as error:
            raise TimeoutError(f"{address} does not say what it serves: {error!r}") from error


class Watch(threading.Thread):
    """Every revision from one on, in order, at whichever coordinator answers."""

    def __init__(self, client, endpoints, begin, start_revision):
        super().__init__(daemon=True)
        self.client, self.endpoints = client, endpoints
        self.where, self.next, self.resumed = begin, start_revision, []
        self.revisions, self.news, self.failed = [], threading.Condition(), None
        self.skipped = 0

    def run(self):
        try:
            while self.failed is None:
                self.watch()
        except Exception as problem:  # Nobody else would hear of it.
            with self.news:
                self.failed = f"the watch ended: {problem!r}"
                self.news.notify_all()

    def watch(self):
        coordinator = self.client.at(self.where)
        try:
            call, request = coordinator.method("quorate.control.v1.Events", "WatchEvents")
            for answer in call(request(start_revision=self.next)):
                self.take(answer)
        except UNDESCRIBED as error:
            self.go_on_elsewhere(coordinator, error)

    def take(self, answer):
        with self.news:
            for revision in answer.revisions:
                # In order and without gaps; a repeat would be as wrong.
                if revision.revision != self.next:
                    self.failed = f"revision {revision.revision} came where {self.next} was due"
                self.next = revision.revision + 1
                self.revisions.append(revision)
                for event in revision.events:
                    say(f"  event {revision.revision} {event.type}: {event.message}")
            self.news.notify_all()

    def go_on_elsewhere(self, coordinator, error):
        info = coordinator.details(error)[0] if isinstance(error, grpc.Call) else None
        if info and info.reason == "COMPACTED":
            # What lies between is gone: whoever keeps state by events reads it anew here.
            first = int(info.metadata["first_kept_revision"])
            say(f"watch: revisions {self.next} to {first - 1} are no longer kept")
            self.skipped += first - self.next
            self.next = first
            return
        here = self.endpoints.index(self.where) if self.where in self.endpoints else -1
        self.where = self.endpoints[(here + 1) % len(self.endpoints)]
        say(f"watch: {coordinator.address} is lost; resuming at {self.where} from revision {self.next}")
        with self.news:
            self.resumed.append(self.where)
            self.news.notify_all()
        time.sleep(0.5)

    def wait_until(self, what, found, deadline=OPERATION_DEADLINE):
        """What `found` gives as soon as that is something; it is asked again with every news."""
        end = time.monotonic() + deadline
        with self.news:
            while self.failed is None:
                result = found()
                if result:
                    return result
                if not self.news.wait(max(0, end - time.monotonic())):
                    raise TimeoutError(f"not within {deadline} s: {what}")
        raise AssertionError(self.failed)

    def wait_for(self, what, wanted):
        """The first revision with an event that is wanted."""
        return self.wait_until(
            what,
            lambda: next((one for one in self.revisions if any(wanted(one, event) for event in one.events)), None),
        )


def failover(client, group, request_id):
    """Asks twice under one request id: there is one operation."""
    fields = {"request_id": request_id, "group": group}
    answers = [client.call("Groups", "RequestFailover", fields) for _ in range(2)]
    say(f"failover of {group} asked for twice under {request_id}: {[answer.operation for answer in answers]}")
    # Field by field: messages that two coordinators describe are of two classes.
    assert len({(answer.operation, answer.revision) for answer in answers}) == 1, "two answers to one request"
    return answers[0]


def follow(client, watch, operation):
    """Waits for the end of an operation, however often the leader changes meanwhile, and for the event that says so."""
    end = time.monotonic() + OPERATION_DEADLINE
    while time.monotonic() < end:
        # The server answers after timeout_ms at the latest; the try is given a little longer.
        fields = {"operation": operation, "timeout_ms": 2_000}
        answer = client.call("Operations", "WaitOperation", fields, try_timeout=4.0)
        if answer.finished:
            steps = ", ".join(step.name for step in answer.operation.steps)
            say(f"{operation}: {answer.operation.outcome or 'over'} ({steps})")
            names = answer.operation.DESCRIPTOR.fields_by_name["status"].enum_type.values_by_number
            status = names[answer.operation.status].name
            assert status == "OPERATION_STATUS_SUCCEEDED", f"{operation} ended as {status}"
            watch.wait_for(
                f"{operation} is over",
                lambda _, event: event.operation == operation and event.type == "PrimaryStarted",
            )
            return
    raise TimeoutError(f"{operation} goes on")


def effects(watch, request_id):
    """The revisions that a request led to."""
    with watch.news:
        return [revision.revision for revision in watch.revisions if revision.request_id == request_id]


def through_a_change_of_leader(client, endpoints, watch, group, first_id, first):
    """Somebody ends the leader in the middle of a failover: the watch goes on elsewhere, the next leader takes the
    operation to its end, and requests of before are still known."""
    # Whoever wants to end the leader in the middle sees to it that the next failover takes a while.
    say("press Enter for another failover, and end the leader while it runs")
    sys.stdin.readline()
    number, address = client.find_leader()
    second_id = f"example-{uuid.uuid4()}"
    second = failover(client, group, second_id)
    say(f"{second.operation} runs; leader: coordinator {number} at {address}; end it now")
    watch.wait_until("the leader is gone", lambda: watch.resumed)
    number, address = client.find_leader()
    say(f"new leader: coordinator {number} at {address}")
    for endpoint in endpoints:
        say(f"  health of {endpoint}: {client.health(endpoint)}")
    for request_id, answer in ((first_id, first), (second_id, second)):
        again = client.call("Groups", "RequestFailover", {"request_id": request_id, "group": group})
        say(f"asked again under {request_id}: {again.operation}, revision {again.revision}")
        assert (again.operation, again.revision) == (answer.operation, answer.revision), "another answer"
    follow(client, watch, second.operation)
    return second_id


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--endpoints", required=True, help="API addresses of the coordinators, by commas")
    parser.add_argument("--through-a-change-of-leader", action="store_true")
    parser.add_argument("group")
    parser.add_argument("members", nargs="+", metavar="HOST[/DISK]", help="the primary, then the backups")
    args = parser.parse_args()
    endpoints = args.endpoints.split(",")
    client = Client(endpoints)

    number, address = client.find_leader()
    say(f"leader: coordinator {number} at {address}")
    services = [name for name in client.services(address) if name.startswith("quorate.")]
    say(f"it serves {', '.join(services)}")
    for endpoint in endpoints:
        say(f"  health of {endpoint}: {client.health(endpoint)}")

    try:
        client.call("Groups", "GetGroup", {"group": "no such name"})
    except Refused as refused:
        say(f"a bad request is refused by field: {refused.reason}, field {refused.metadata['field']}")
        assert (refused.reason, refused.metadata["field"]) == ("INVALID_FIELD", "group")

    status = client.call("Cluster", "GetStatus", {})
    watch = Watch(client, endpoints, address, status.revision + 1)
    watch.start()
    members = [dict(zip(("host", "disk"), member.split("/", 1))) for member in args.members]
    create = {
        "request_id": f"example-{uuid.uuid4()}",
        "group": args.group,
        "primary": members[0],
        "backups": members[1:],
    }
    client.call("Groups", "CreateGroup", create)
    watch.wait_for("the group serves", lambda _, event: (event.group, event.type) == (args.group, "PrimaryStarted"))

    first_id = f"example-{uuid.uuid4()}"
    first = failover(client, args.group, first_id)
    follow(client, watch, first.operation)
    ids = [create["request_id"], first_id]
    if args.through_a_change_of_leader:
        ids.append(through_a_change_of_leader(client, endpoints, watch, args.group, first_id, first))

    for request_id in ids:
        revisions = effects(watch, request_id)
        say(f"effects of {request_id}: revisions {revisions}")
        assert len(revisions) == 1, "a request has one effect"
    assert watch.failed is None, watch.failed
    gap = f"but for {watch.skipped} that are no longer kept" if watch.skipped else "and without a gap"
    say(f"done: {len(watch.revisions)} revisions in order {gap}")


if __name__ == "__main__":
    try:
        main()
    except (Refused, TimeoutError, AssertionError) as problem:
        sys.exit(f"client.py: {problem}")
