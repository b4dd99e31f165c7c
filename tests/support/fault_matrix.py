"""The fault matrix: which fault is shown by which tests, on SQLite and on Redis. Plain data.

Valkey, which runs the same scripts as Redis, has its turn in the tests of :data:`ON_VALKEY`: who is
killed where and when, with what is counted and measured.

`make test-faults` runs the tests that are named here (``python tests/support/fault_matrix.py``
lists them); `tests/acceptance/test_fault_matrix.py` holds that every row is there and every test
exists. Rows 61 to 66 and 68 are about clocks and schedules and come with the scheduler. A test of a
row injects its fault and asserts what must hold.
"""

from __future__ import annotations

from typing import NamedTuple

#: Rows that must be here.
ASKED = [*range(1, 40), *range(41, 44), *range(45, 61), 67, 69, 70]
LEFT_OUT = {
    40: "deadlocks and serialization failures are PostgreSQL's, which is no store yet",
    44: "the consumer timeout is RabbitMQ's, which is no store yet",
}
STORES = ("sqlite", "redis")


class Row(NamedTuple):
    """*both*: tests with the store among their parameters; *sqlite* and *redis*: those of one. A
    text instead of tests says why the row does not apply there."""

    title: str
    must: str
    both: tuple[str, ...] = ()
    sqlite: tuple[str, ...] | str = ()
    redis: tuple[str, ...] | str = ()


def of(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/{file}.py::test_{name}" for name in names)


def conformance(*names: str) -> dict[str, tuple[str, ...]]:
    """Tests of the suite that every store passes."""
    return {
        store: tuple(f"tests/conformance/test_{store}.py::Test{store.title()}::test_{name}"
                     for name in names)
        for store in STORES
    }  # fmt: skip


def crashes(*names: str) -> tuple[str, ...]:
    return of("acceptance/test_crashpoints", *names)


def processes(*names: str) -> tuple[str, ...]:
    return of("acceptance/test_faults_of_processes", *names)


def links(*names: str) -> tuple[str, ...]:
    return of("acceptance/test_faults_of_links", *names)


def networks(*names: str) -> tuple[str, ...]:
    return of("acceptance/test_faults_of_networks", *names)


def outages(*names: str) -> tuple[str, ...]:
    return of("acceptance/test_faults_of_outages", *names)


def files(*names: str) -> tuple[str, ...]:
    return of("acceptance/test_faults_of_files", *names)


def work(*names: str) -> tuple[str, ...]:
    return of("acceptance/test_faults_of_work", *names)


def deaths(*names: str) -> tuple[str, ...]:
    return of("integration/test_worker_deaths", *names)


def limits(*names: str) -> tuple[str, ...]:
    return of("integration/test_worker_limits", *names)


def amid(*names: str) -> tuple[str, ...]:
    return of("acceptance/test_flow_crashpoints", *names)


def pools(*names: str) -> tuple[str, ...]:
    return of("acceptance/test_faults_of_pools", *names)


def recovery(*names: str) -> tuple[str, ...]:
    return of("acceptance/test_recovery", *names)


#: Somebody is killed amid workflows, at the points that are parameters.
AMID = amid(
    "a_worker_dies_amid_workflows",
    "a_worker_dies_between_the_steps_of_a_large_one",
    "an_executor_dies_amid_workflows",
    "a_worker_dies_while_it_stops_amid_workflows",
    "a_client_dies_while_it_sends_workflows",
    "a_command_dies_that_ends_workflows",
    "a_command_dies_that_retries_workflows",
)
#: Points at which nobody is amid workflows: a store of an older version is opened; or what the
#: oracle of workflows goes by is taken away, which the conformance suite has.
AMID_ELSEWHERE = {"migrate.begun", "migrate.applied", "discard.applied"}

#: Of the conformance suite, with a case for each call of the seam.
LOST_ANSWERS = (
    "a_call_that_was_not_applied_has_changed_nothing_and_can_be_repeated",
    "a_call_that_was_applied_and_reported_as_failed_is_repeated_as_if_made_once",
)
ALL_CALLS = of("conformance/test_lost_answers", "every_call_of_the_seam_has_a_case")
NO_SERVER = "there is no server and no connection: each process opens the file itself"

ROWS: dict[int, Row] = {
    1: Row(
        "an executor is killed before user code starts",
        "it runs again at once, and no crash is charged",
        crashes("an_executor_dies"),
    ),
    2: Row(
        "an executor is killed while user code runs",
        "crash 1 requeues at once (DESIGN: the pause comes with crash 2), in a fresh process; "
        "at-most-once fails with WorkerLostError",
        deaths(
            "a_task_that_crashed_once_runs_again_and_succeeds",
            "at_most_once_and_no_requeue_fail_at_the_first_crash",
        )
        + recovery("an_executor_is_killed")
        + pools("an_executor_is_killed"),
    ),
    3: Row(
        "an executor is killed after the body returned",
        "an outcome that is in the pipe wins over the death; else as row 2",
        crashes("an_executor_dies"),
    ),
    4: Row(
        "the supervisor is killed, idle or holding tasks",
        "executors end with it; a mate on the host takes over long before the lease ends",
        deaths(
            "executors_end_with_their_supervisor",
            "a_dead_worker_is_named_in_the_log_of_its_host_mate",
            "a_dead_workers_task_starts_on_a_host_mate_long_before_its_lease_ends",
            "an_at_most_once_task_of_a_dead_worker_fails_visibly",
        )
        + recovery("a_worker_is_killed_beside_another_on_its_host", "a_worker_goes_silent")
        + pools("a_worker_is_killed_and_what_it_ran_runs_elsewhere"),
    ),
    5: Row(
        "kill -9 at every step of a life, of everybody at random, of whole families at once",
        "nothing acknowledged is lost, one commit each, every start explained; amid workflows too",
        crashes(
            "the_supervisor_dies_in_the_middle_of_work",
            "the_supervisor_dies_while_it_stops",
            "the_supervisor_dies_while_it_reaps",
            "an_executor_dies",
            "a_client_dies",
            "a_command_dies",
        )
        + of("acceptance/test_kills", "200_kills_lose_nothing")
        + AMID,
    ),
    6: Row(
        "killed, or cut off, between an applied commit and its answer",
        "a resend reads ALREADY; after a crash the record is terminal and nobody runs it again",
        crashes("the_supervisor_dies_in_the_middle_of_work"),
        **conformance(
            "after_exchange_applied_the_same_seq_returns_what_was_leased",
            "the_same_seq_again_reads_already_where_it_was_ok",
            "a_resent_commit_reads_already",
        ),
    ),
    7: Row(
        "the zygote is killed",
        "it is replaced while executors run on, also if all of them die with it",
        deaths("a_dead_zygote_is_replaced_while_executors_run_on")
        + of(
            "integration/test_worker_zygote",
            "a_worker_survives_the_death_of_its_zygote_and_all_its_executors_at_once",
        ),
    ),
    8: Row(
        "a whole worker is stopped for longer than its lease, and goes on",
        "its task runs elsewhere; awake it is FENCED, kills what it ran, is a new incarnation",
        deaths("a_worker_stopped_for_longer_than_its_lease_is_fenced")
        + processes("a_worker_that_wakes_after_its_lease_kills_what_it_runs_and_goes_on")
        + pools("a_worker_that_wakes_after_its_lease_is_fenced_and_goes_on"),
    ),
    9: Row(
        "one executor is stopped",
        "the supervisor sees it, kills it after a lease, crash 1",
        processes("an_executor_that_is_stopped_is_ended_and_its_task_runs_again")
        + pools("an_executor_that_is_stopped_is_ended"),
    ),
    10: Row(
        "everything stands still (a laptop sleeps) and all leases look expired",
        "a reaper that slept gives everybody a lease first; no mass rerun",
        processes("nothing_runs_again_because_all_workers_stood_still"),
        **conformance(
            "a_reaper_that_slept_gives_everybody_a_lease_first",
            "a_reaper_that_slept_still_reaps_the_dead_it_was_told_of",
            "a_reaper_that_slept_skips_retention_in_that_pass",
        ),
    ),
    11: Row(
        "an executor is killed for want of memory",
        "a crash with its reason and peak memory, dead after three; before that the supervisor "
        "ends the largest",
        of(
            "integration/test_worker_memory",
            "a_death_by_the_oom_killer_is_told_as_such",
            "the_largest_executor_is_ended_before_the_kernel_kills_all",
        ),
    ),
    12: Row(
        "MemoryError in a task",
        "an ordinary failure; the executor is recycled if it has grown (DESIGN), not for the error",
        processes("whatever_an_exception_is_it_is_the_failure_of_its_task"),
    ),
    13: Row(
        "segfault, abort",
        "a crash with the signal's name and the last Python stack; neighbours are not charged",
        deaths(
            "a_task_that_kills_its_executor_is_dead_after_three_crashes",
            "a_segfault_reports_the_last_python_stack",
        )
        + of("integration/test_pool_threads", "who_ran_in_an_executor_that_died_runs_again_alone"),
    ),
    14: Row(
        "sys.exit() in a task",
        "FAILURE(SystemExit), and the executor lives",
        deaths("sys_exit_in_a_task_is_a_failure_not_a_death"),
    ),
    15: Row(
        "os._exit(0), os._exit(3), kill of oneself",
        "a crash with the exit status; 0 without a result is one too",
        deaths("a_task_that_kills_its_executor_is_dead_after_three_crashes"),
    ),
    16: Row(
        "KeyboardInterrupt, GeneratorExit, any BaseException in a task",
        "FAILURE; it stops nobody",
        processes("whatever_an_exception_is_it_is_the_failure_of_its_task"),
    ),
    17: Row(
        "a task forks, and the child returns too",
        "the child's outcome is not reported, the executor lives on",
        processes("a_child_that_a_task_forked_and_that_returns_too_is_not_believed"),
    ),
    18: Row(
        "a task leaks threads or leaves an event loop",
        "worker and limits go on; recycling gives a clean process (a look at each task is not in "
        "DESIGN, and not done)",
        processes(
            "what_tasks_leave_in_their_process_stays_there",
            "a_process_that_tasks_have_spoilt_goes_on_and_is_ended_with_its_worker",
        ),
    ),
    19: Row(
        "a task leaks descriptors, or changes folder, umask, environment, signal handlers",
        "as row 18",
        processes(
            "what_tasks_leave_in_their_process_stays_there",
            "a_process_that_tasks_have_spoilt_goes_on_and_is_ended_with_its_worker",
        ),
    ),
    20: Row(
        "fork while threads hold locks",
        "an application with threads is not forked: executors are started as new interpreters",
        deaths("an_application_with_threads_gets_executors_by_exec")
        + processes("executors_are_not_forked_from_an_application_whose_threads_hold_locks"),
    ),
    21: Row(
        "the hard time limit of C code that holds the GIL",
        "the executor is killed; FAILURE(TimeLimitExceeded), no crash (DESIGN); in shared pools "
        "neighbours go back uncharged",
        limits("the_hard_limit_ends_a_loop_that_holds_the_gil")
        + of(
            "integration/test_pool_threads",
            "the_hard_limit_costs_the_executor_and_neighbours_may_finish",
        ),
        sqlite=of("integration/test_pool_asyncio", "a_blocked_loop_is_ended_at_the_hard_limit"),
    ),
    22: Row(
        "the soft time limit in sleep, at a silent peer, in a thread, in a coroutine",
        "it is raised there",
        limits("the_soft_limit_is_raised_in_the_task")
        + processes("a_soft_limit_that_is_swallowed_or_comes_in_a_call_to_the_store")
        + of("integration/test_pool_threads", "the_soft_limit_is_raised_in_its_thread_alone"),
        sqlite=of(
            "integration/test_pool_asyncio", "the_soft_limit_is_raised_where_the_coroutine_waits"
        ),
    ),
    23: Row(
        "the soft limit is swallowed by `except Exception`, or comes in a call to the store",
        "SoftTimeLimitExceeded is an Exception (DESIGN, as Celery's), so it can be; the hard limit "
        "ends it; the connection gives no later call a wrong answer",
        processes("a_soft_limit_that_is_swallowed_or_comes_in_a_call_to_the_store")
        + links("calls_that_are_interrupted_at_any_step_leave_nothing_half_done"),
    ),
    24: Row(
        "executors are recycled after every task",
        "each runs once, none is charged (3,000 tasks of the 10,000 that research asks for)",
        processes("an_executor_for_each_task_runs_each_once")
        + limits("executors_are_recycled_after_max_tasks"),
    ),
    25: Row(
        "SIGTERM during tasks, a second signal, SIGQUIT, the grace runs out",
        "what has not begun goes back, what is cut is requeued without a charge, nothing stays "
        "leased",
        limits(
            "a_graceful_stop_finishes_what_runs_and_leaves_nothing_leased",
            "a_second_signal_stops_now_and_requeues_without_a_charge",
            "sigterm_can_be_made_a_stop_at_once",
            "the_grace_runs_out",
        )
        + crashes("the_supervisor_dies_while_it_stops")
        + of(
            "acceptance/test_deploys",
            "short_tasks_are_done_and_long_ones_run_elsewhere",
            "workers_are_replaced_one_by_one_under_load",
        ),
    ),
    26: Row(
        "an exception that nobody expects, in the supervisor's own code",
        "it is logged, executors end, the exit status is not 0, its tasks run elsewhere",
        processes("a_worker_with_a_bug_of_its_own_ends_and_says_so"),
    ),
    27: Row(
        "the server restarts and has kept its data",
        "workers go on within seconds, nothing is lost",
        sqlite=NO_SERVER,
        redis=of(
            "integration/test_redis_worker",
            "everybody_is_killed_and_nothing_is_lost",
            "a_worker_goes_on_after_a_restart_of_the_server",
        )
        + recovery("the_store_is_restarted")
        + outages("work_goes_on_in_time_after_an_outage")
        + of(
            "integration/test_redis_outage",
            "a_worker_goes_on_within_seconds_of_its_servers_return",
        ),
    ),
    28: Row(
        "the server comes back empty",
        "workers register anew and work; who waits for what is gone gets ResultNotFound. DESIGN "
        "has no event for it: a server that keeps nothing is told of at a worker's start",
        sqlite=files("a_database_that_was_moved_away_is_told_and_nothing_is_written_to_it"),
        redis=links("a_server_that_comes_back_empty_is_lived_with")
        + of(
            "integration/test_redis_listening", "a_record_that_is_gone_without_a_word_is_found_out"
        )
        + of("integration/test_redis_outage", "traps_are_told_at_a_workers_start_and_by_doctor"),
    ),
    29: Row(
        "the store is away as one sends, as tasks run, as they end",
        "delay() raises within its budget (5 s); tasks run on; outcomes are held and delivered",
        sqlite=files("a_writer_that_holds_the_file_for_eight_seconds_costs_nobody_a_task"),
        redis=of(
            "integration/test_redis_outage",
            "sending_while_an_outage_lasts_fails_within_the_budget",
            "sending_to_a_server_that_is_away_fails_in_time_and_says_what_to_do",
            "a_worker_goes_on_within_seconds_of_its_servers_return",
        )
        + outages("work_goes_on_in_time_after_an_outage"),
    ),
    30: Row(
        "a call is cut off in the middle, its answer is lost",
        "each call of the seam that is repeated is as if made once; an exchange that is sent again "
        "under the same number is applied once",
        of(
            "acceptance/test_lost_answers",
            "every_call_fails_in_every_process_and_nothing_is_lost_or_doubled",
        ),
        sqlite=of(
            "integration/test_sqlite_processes",
            "a_transaction_that_was_cut_is_not_there",
            "kill_9_at_a_crash_point_loses_nothing",
        )
        + conformance(*LOST_ANSWERS)["sqlite"]
        + ALL_CALLS,
        redis=conformance(*LOST_ANSWERS)["redis"]
        + ALL_CALLS
        + links(
            "an_exchange_that_is_cut_after_any_byte_is_applied_once",
            "a_request_that_is_cut_after_any_byte_is_sent_again",
        )
        + of(
            "integration/test_redis_resends",
            "whichever_answer_is_lost_the_call_is_applied_once",
            "a_retry_that_is_sent_again_late_does_not_reopen_what_has_failed_anew",
        )
        + of(
            "integration/test_redis_bids",
            "lanes_run_each_task_once_whatever_answers_are_lost",
            "a_lost_answer_is_asked_for_again_under_its_number",
        ),
    ),
    31: Row(
        "the peer has vanished without a word",
        "each wait is bounded; connections are left for new ones",
        sqlite=NO_SERVER,
        redis=links(
            "connections_whose_peer_has_vanished_are_left_for_new_ones",
            "connections_that_end_in_odd_ways_lose_and_double_nothing",
        )
        + recovery("connections_are_black_holed")
        + networks(
            "connections_to_a_host_that_has_vanished_are_given_up_in_time",
            "who_sends_while_its_host_is_cut_off_is_told_within_its_budget",
        )
        + of("integration/test_redis_listening", "a_link_that_is_dead_and_silent_is_found_out"),
    ),
    32: Row(
        "the store takes seconds for each answer",
        "heartbeats have a connection of their own: nobody is given up, nothing runs twice",
        sqlite=files("a_database_that_takes_two_seconds_for_each_step_loses_nobody"),
        redis=links("a_store_that_takes_seconds_for_each_answer_loses_nobody"),
    ),
    33: Row(
        "one worker is cut off from the store for twice its lease",
        "another takes over once the lease has ended; healed it is FENCED and goes on anew",
        sqlite=deaths("a_worker_stopped_for_longer_than_its_lease_is_fenced"),
        redis=links("a_worker_that_is_cut_off_for_twice_its_lease_is_fenced")
        + pools("a_worker_that_is_black_holed_is_fenced_and_goes_on")
        + networks("a_worker_of_a_host_that_is_cut_off_is_fenced_and_begins_anew")
        + recovery("a_worker_of_another_host_is_cut_off"),
    ),
    34: Row(
        "the store of results is away, that of tasks is not",
        "results wait in an outbox in the commit (PROTOCOL 7, not the claims of the research) and "
        "come when it is back",
        sqlite=of(
            "integration/test_two_stores",
            "the_other_store_is_away_while_tasks_end",
            "a_worker_begins_without_the_other_store",
        ),
        redis=of(
            "integration/test_two_stores",
            "the_other_store_is_away_while_tasks_end",
            "a_worker_begins_without_the_other_store",
            "the_supervisor_dies_while_it_brings_results",
        ),
    ),
    35: Row(
        "a failover loses the last writes",
        "what was copied is finished; fences of the lost past hold nothing, and no lease is left "
        "that nobody answers for; the worker goes on",
        sqlite="a file has no replica",
        redis=of(
            "integration/test_redis_failover",
            "behind_sentinels_the_primary_dies_under_a_worker",
            "a_node_of_the_cluster_dies_under_a_worker",
        )
        + of(
            "acceptance/test_faults_of_failovers",
            "workers_go_on_from_what_the_new_primary_has",
        ),
    ),
    36: Row(
        "no room left",
        "enqueue raises StoreFull and stores nothing; outcomes are held and stored once there is "
        "room; what was acknowledged stays",
        sqlite=files("a_worker_whose_database_may_not_grow_holds_its_outcomes_until_it_may")
        + of("acceptance/test_faults_of_disks", "a_database_on_a_disk_that_is_full")
        + of("integration/test_sqlite_room", "a_limit_on_the_size_of_files", "a_full_disk"),
        redis=of("acceptance/test_faults_of_disks", "a_server_whose_disk_is_full")
        + of("integration/test_redis_outage", "a_full_server_refuses_what_is_sent_and_is_drained")
        + of(
            "integration/test_redis_bad_input",
            "a_disk_that_is_full_refuses_what_is_sent",
            "memory_that_is_full_refuses_what_is_sent_and_lets_workers_drain",
        ),
    ),
    37: Row(
        "a long writer, a long reader; the log grows",
        "a writer of 8 s is longer than delay() may take (5 s, DESIGN), which says so, and costs "
        "no task; a reader hinders nobody, and the log is cut again",
        sqlite=files(
            "a_writer_that_holds_the_file_for_eight_seconds_costs_nobody_a_task",
            "a_reader_of_a_minute_keeps_nobody_from_working",
        )
        + of(
            "integration/test_sqlite_processes", "a_lock_that_is_given_back_in_time_is_waited_for"
        ),
        redis="its server runs one step after the other; a slow one is row 32",
    ),
    38: Row(
        "the file lies on a network, is moved away or replaced",
        "refused by name; told by name, nothing is written to nobody's file, the worker goes on "
        "if it is put back (DESIGN does not have it end)",
        sqlite=files("a_database_that_was_moved_away_is_told_and_nothing_is_written_to_it")
        + of("unit/test_sqlite_place", "network_file_systems_are_refused_by_name"),
        redis="its server has the file",
    ),
    39: Row(
        "loss of power: the end of what was written is not there",
        "what is there is a beginning of what was done, whole, and work goes on",
        of("acceptance/test_faults_of_power", "a_log_that_was_cut_anywhere_holds_a_beginning"),
    ),
    41: Row(
        "two hundred workers come back at once",
        "they come spread (full jitter), and all of them",
        sqlite="nobody connects to a server; many processes at one file: test_sqlite_processes",
        redis=links("two_hundred_workers_do_not_come_back_all_at_once")
        + of("unit/test_backoff", "those_that_lost_their_store_together_come_back_spread"),
    ),
    42: Row(
        "a message is delivered twice",
        "the second send of an id with its nonce is no-op; a record is leased once",
        **conformance(
            "same_id_and_nonce_is_a_resend_and_changes_nothing",
            "a_resend_is_nothing_while_it_runs_and_after_it_ended",
            "nothing_is_leased_twice",
        ),
    ),
    43: Row(
        "a message comes very late, after its result has expired",
        "a tombstone knows it (1 h, 7 d for unique ids: DESIGN); a fence of what is gone is FENCED",
        **conformance(
            "a_tombstone_is_kept_for_tombstone_expires",
            "a_unique_id_is_remembered_for_seven_days",
            "a_fence_of_a_removed_record_is_fenced",
            "a_commit_for_an_absent_record_is_fenced",
        ),
    ),
    45: Row(
        "a call of a client is interrupted in the middle, or awaited and cancelled",
        "all of it or nothing; no transaction stays open, no answer is another call's",
        links("calls_that_are_interrupted_at_any_step_leave_nothing_half_done")
        + of(
            "acceptance/test_faults_of_calls",
            "changes_that_are_interrupted_at_any_step_are_made_or_not",
            "a_send_that_is_cancelled_is_whole_or_not_there",
            "a_send_that_is_cancelled_at_any_moment_is_whole_or_not_there",
            "a_wait_that_is_cancelled_leaves_the_others_and_its_own_thread_ends",
            "a_revoke_or_forget_that_is_cancelled_is_made_or_not",
        ),
        redis=of(
            "integration/test_redis_connection",
            "a_call_that_is_interrupted_leaves_no_answer_behind",
        ),
    ),
    46: Row(
        "a damaged message",
        "FAILURE(DecodeError and the like) at its first run, never run hot, the worker goes on",
        work("damaged_messages_fail_and_the_worker_goes_on"),
        # Of both stores, and of several pools.
        sqlite=of("fuzz/test_workers", "damaged_messages_end_put_aside_and_the_worker_works_on"),
    ),
    47: Row(
        "an unknown task: a deploy, the old worker first",
        "parked until a worker knows it (DESIGN: no time limit on that); nothing is failed",
        limits("an_unknown_task_waits_for_a_worker_that_knows_it")
        + work(
            "an_old_and_a_new_worker_side_by_side_lose_nothing",
            "names_that_nobody_can_know_wait_aside_and_hurt_nobody",
        ),
    ),
    48: Row(
        "arguments that do not fit",
        "refused where it is sent if the task is known there (TypeError), else FAILURE, no retry",
        work(
            "what_cannot_be_sent_is_refused_and_nothing_is_stored",
            "damaged_messages_fail_and_the_worker_goes_on",
        ),
    ),
    49: Row(
        "another version of the library on one store",
        "a later schema is refused by name, an earlier one migrated by one of those that come; who "
        "runs on meanwhile reads and writes nothing any more, and says why",
        of(
            "acceptance/test_versions",
            "of_those_that_start_at_once_one_migrates_and_all_work",
            "a_newer_store_is_refused_by_worker_client_and_command",
            "a_worker_that_runs_while_another_version_migrates_stops_and_says_why",
            "an_idle_worker_hears_of_it_with_its_next_beat",
            "whoever_has_the_store_open_writes_nothing_old",
            "each_of_these_calls_would_change_something",
        )
        + of("integration/test_golden_stores", "a_worker_of_today_finishes_what_an_old_one_left")
        + of(
            "acceptance/test_old_code",
            "what_old_code_left_is_finished_and_it_is_refused_from_then_on",
            "old_and_new_code_of_one_schema_work_side_by_side",
        ),
        sqlite=of(
            "unit/test_sqlite_place",
            "a_newer_schema_is_refused_and_both_versions_are_named",
            "a_file_of_schema_1_is_migrated_and_its_tasks_run",
        ),
        redis=of("integration/test_redis_outage", "newer_schema_is_told_to_worker_and_client")
        + of("acceptance/test_versions", "a_full_server_is_migrated")
        + of(
            "integration/test_redis_connection",
            "an_older_schema_is_raised_so_that_older_versions_are_refused",
            "a_server_that_was_emptied_and_used_by_an_older_version_is_migrated",
        ),
    ),
    50: Row(
        "arguments or a result that are too large",
        "PayloadTooLarge where it is sent, nothing is stored; FAILURE(ResultTooLarge), alone",
        work(
            "what_cannot_be_sent_is_refused_and_nothing_is_stored",
            "what_is_just_allowed_travels_whole",
        )
        + processes("results_that_cannot_travel_are_failures_and_release_nothing"),
        **conformance("a_result_over_the_limit_fails_alone"),
    ),
    51: Row(
        "arguments that cannot be serialised",
        "refused where it is sent, the path to the value is named, nothing is stored",
        work("what_cannot_be_sent_is_refused_and_nothing_is_stored"),
    ),
    52: Row(
        "a result that cannot be serialised",
        "FAILURE(EncodeError); what waited for a success does not run",
        processes("results_that_cannot_travel_are_failures_and_release_nothing"),
    ),
    53: Row(
        "exceptions that cannot be pickled, spoken or made again, are huge or go in circles",
        "data only, bounded; the worker goes on and who asks gets an exception",
        processes("whatever_an_exception_is_it_is_the_failure_of_its_task"),
    ),
    54: Row(
        "receivers of signals and handlers raise, exit or hang, a formatter of logs raises",
        "logged with the task; no state changes. Who hangs, or ends the process, before the "
        "outcome is sent ends the run: its limits, or a crash",
        of(
            "integration/test_signals_worker",
            "receivers_outside_the_executors_change_nothing",
            "receivers_of_runs_that_raise_change_nothing",
            "a_receiver_of_a_run_that_hangs_is_ended_with_the_run",
        )
        + work(
            "handlers_that_raise_or_exit_are_told_and_change_nothing",
            "handlers_that_hang_or_end_their_process_end_the_run",
            "a_formatter_that_raises_changes_no_state",
        ),
    ),
    55: Row(
        "results cannot be read for a while",
        "a timeout of get() holds; it goes on after the outage, no wake-up is lost",
        sqlite=of("integration/test_two_stores", "the_other_store_is_away_while_tasks_end")
        + of("integration/test_sqlite_bells", "more_news_than_a_socket_holds_are_not_lost"),
        redis=of(
            "integration/test_redis_outage",
            "results_are_waited_for_across_a_restart",
            "who_waits_in_get_waits_through_an_outage",
            "a_timeout_of_get_holds_in_an_outage_and_names_it",
        )
        + of("integration/test_redis_listening", "what_ends_while_the_link_is_down_is_found_after"),
    ),
    56: Row(
        "tasks that kill any process, among a thousand good ones",
        "dead after three crashes; the good ones succeed without a charge",
        deaths("innocent_tasks_around_a_killer_all_succeed_uncharged"),
    ),
    57: Row(
        "a task that sends itself; very long chains, very wide groups",
        "no recursion, bounded memory, chunks; others have their turn",
        work("a_task_that_sends_itself_for_ever_is_ended_by_a_purge")
        + of(
            "integration/test_workflows_scale",
            "a_chord_of_twenty_thousand_from_a_generator",
            "a_group_of_fifty_thousand_from_a_generator_is_not_held",
            "long_chains_and_chains_side_by_side",
            "a_hundred_thousand_calls_in_chunks",
        ),
    ),
    58: Row(
        "a chord's member runs twice, is dead; killed between member and body",
        "the body runs exactly once, or fails with the member's reason",
        of("integration/test_workflows_worker", "a_crash_in_the_middle_of_a_chord_is_run_again")
        + of(
            "integration/test_chord_failures",
            "one_that_failed",
            "one_that_is_dead",
            "one_that_was_revoked",
            "one_that_expired",
        )
        + of("acceptance/test_flow_faults", "every_workflow_ends_as_it_must_whoever_dies"),
        **conformance(
            "a_resent_member_commit_counts_once", "a_member_that_is_fenced_does_not_count"
        ),
    ),
    59: Row(
        "revoked before it came, while queued, leased, running, between retries, its owner dead",
        "durable; REVOKED, never requeued; without terminate a running task's success stands",
        limits(
            "a_queued_task_is_revoked_before_it_runs",
            "terminate_ends_the_running_task_and_only_that",
        )
        + work("what_is_revoked_does_not_run_whoever_lives"),
        **conformance(
            "an_unknown_id_leaves_a_tombstone_that_the_enqueue_meets",
            "what_has_not_begun_ends_now",
            "what_is_held_is_told_to_its_owner_at_its_beat",
            "without_terminate_the_outcome_of_a_running_task_stands",
            "a_pending_revoke_ends_a_retry",
            "a_pending_revoke_ends_what_is_handed_back",
            "a_pending_revoke_ends_what_is_reaped",
        ),
    ),
    60: Row(
        "terminate comes just as its task ends",
        "it never hits the next one (500 rounds of the 1,000 that research asks for)",
        work("a_terminate_that_comes_as_its_task_ends_hits_no_other"),
    ),
    67: Row(
        "an eta in a year or in the past, expired before it came, a restart meanwhile",
        "stored and held by nobody; what has expired never starts",
        work("times_far_away_and_gone_by"),
        **conformance(
            "what_has_expired_ends_instead_of_being_leased", "expiry_is_swept_without_any_worker"
        ),
    ),
    69: Row(
        "who holds a lock or a place dies",
        "it is free once its time is over, and not before (owned by a holder and a time: the seam)",
        work("what_a_killed_process_holds_is_free_once_its_time_is_over"),
        **conformance("a_place_lapses"),
    ),
    70: Row(
        "long ids, strange names, no arguments, None as a result",
        "limits of names and ids are enforced where it is sent; what is allowed travels whole",
        work(
            "what_cannot_be_sent_is_refused_and_nothing_is_stored",
            "what_is_just_allowed_travels_whole",
            "more_tasks_than_32_bits_can_count",
            "names_that_nobody_can_know_wait_aside_and_hurt_nobody",
        ),
    ),
}
#: Tests at whose crash points somebody is killed; what they are called with are the points.
CRASHES = (
    *crashes(
        "the_supervisor_dies_in_the_middle_of_work",
        "the_supervisor_dies_while_it_stops",
        "an_executor_dies",
        "a_client_dies",
        "a_command_dies",
    ),
    *amid("a_worker_dies_between_the_steps_of_a_large_one"),
    *of("integration/test_two_stores", "the_supervisor_dies_while_it_brings_results"),
    *of(
        "acceptance/test_versions",
        "whoever_migrates_dies_and_leaves_the_old_store_or_the_new_one",
    ),
)
#: Tests that also run on Valkey; the crash points of :data:`CRASHES` do, too.
ON_VALKEY = (
    *crashes("the_supervisor_dies_while_it_reaps"),
    *of("acceptance/test_kills", "200_kills_lose_nothing"),
    *of("acceptance/test_flow_faults", "every_workflow_ends_as_it_must_whoever_dies"),
    *processes("nothing_runs_again_because_all_workers_stood_still"),
    *of(
        "acceptance/test_lost_answers",
        "every_call_fails_in_every_process_and_nothing_is_lost_or_doubled",
    ),
    *of(
        "acceptance/test_deploys",
        "short_tasks_are_done_and_long_ones_run_elsewhere",
        "workers_are_replaced_one_by_one_under_load",
    ),
    *recovery(
        "an_executor_is_killed",
        "a_worker_is_killed_beside_another_on_its_host",
        "a_worker_goes_silent",
        "the_store_is_restarted",
        "connections_are_black_holed",
    ),
)
#: In no row, but left to `make test-faults` on Redis, where they are long and the store makes
#: little difference (``workers.REDIS_LATER``).
LATER = (
    *of(
        "integration/test_mistaken_tasks",
        "a_state_that_is_none_fails_the_task_and_not_the_executor",
        "a_state_that_went_past_the_checks_is_not_shown_and_the_executor_lives",
        "a_time_that_is_none_in_a_retry_fails_the_task_and_not_the_executor",
    ),
    *of(
        "integration/test_pool_threads",
        "a_busy_thread_never_starves_the_heartbeat",
        "a_graceful_stop_waits_and_leaves_nothing_leased",
        "an_executor_is_recycled_after_max_tasks",
        "an_executor_that_grew_is_replaced_while_its_tasks_end",
        "an_immediate_stop_hands_everything_back",
        "each_run_has_its_own_context",
        "long_runs_keep_nothing_behind_them",
        "many_brief_tasks_are_all_done_once",
        "no_more_than_asked_run_at_a_time",
        "results_retries_coroutines_and_progress",
        "terminate_ends_the_run_and_neighbours_go_on",
        "threads_of_one_process_run_at_the_same_time",
    ),
    *of(
        "integration/test_signals_worker",
        "a_call_that_waits_for_its_turn_is_revoked_in_the_workers_hands",
        "a_message_that_cannot_be_trusted_is_rejected",
        "a_receiver_may_send_tasks",
        "a_receiver_that_hangs_does_not_keep_the_solo_pool_from_working",
        "a_receiver_that_keeps_an_executor_from_starting_is_named",
        "executors_that_are_started_anew_set_up_in_each",
        "received_and_revoked",
        "receivers_that_cannot_keep_up_lose_notices_and_the_worker_nothing",
        "shared_pools_send_them_too",
        "signals_of_runs",
        "the_classic_prometheus_snippet",
        "the_failure_of_a_task_whose_executor_died_is_told",
        "the_life_of_a_worker",
        "the_solo_pool_sends_them_too",
        "what_receivers_of_the_set_up_did_is_there_in_tasks",
    ),
    *of(
        "integration/test_worker_deaths",
        "the_failure_hook_of_a_killed_task_runs_in_the_hooks_process",
    ),
    *of(
        "integration/test_worker_limits",
        "a_signal_that_comes_twice_at_once_is_one",
        "a_terminal_that_goes_away_is_a_stop_with_grace",
        "an_executor_that_grew_is_replaced_when_idle",
        "limits_of_the_call_win_over_those_of_the_task",
        "long_tasks_never_queue_behind_each_other",
        "progress_reaches_the_record_while_the_task_runs",
        "retries_async_tasks_and_log_records",
        "stacks_are_shown_on_request_and_nothing_ends",
    ),
)
#: It dies at ``reap.applied``, without a parameter that says so.
REAPS = crashes("the_supervisor_dies_while_it_reaps")


def named(row: Row, store: str) -> tuple[str, ...]:
    """The tests of *row* for *store*."""
    own = getattr(row, store)
    return row.both + (() if isinstance(own, str) else own)


def all_tests() -> list[str]:
    """Every test that `make test-faults` runs, once; those of ``tests/soak`` besides."""
    found = {test: None for row in ROWS.values() for store in STORES for test in named(row, store)}
    return list(found | dict.fromkeys(CRASHES + REAPS + LATER))


if __name__ == "__main__":
    print(*all_tests(), sep="\n")
