"""Which tests run when. `make test-long` runs all of them.

- `costly`, not in `make test` but in `make test-whole`: as measured (tests/costly.txt), but for
  what `make test` keeps so that a task, a browser and a worker that is killed are tried for real.
- `long`, not in `make test-whole`: over ten seconds alone, and a cheaper test of the same fact is
  named here. One that has no cheaper one stays.
- `long`, too: the half on Postgres and Redis of tests whose subject never reaches either but
  through calls that other tests put both under. The half on SQLite and files is the cheaper test.
  Not where the test `races`: what two transactions make of each other is each database's own.
- `slow`: starts processes or a browser, or imports torch. Not in `make test-quick`.
"""

import pytest

from tests import costly

_SERVED = (
    "tests/hostile/test_served_memory.py::test_the_largest_picture_takes_little_and_leaves_nothing"
)
_FORMS = ("JSON-", "MASK-", "OVERLAY-", "OVERLAY_WEBP-", "CONFIDENCE-", "ARRAYS-")
_LEGENDS = ("OVERLAY-?legend=true", "OVERLAY_WEBP-?legend=true")
_OTHER_FORMS = {
    f"{form}-{picture}" for form in (*_FORMS, *_LEGENDS) for picture in ("jpeg", "rgba")
} - {"JSON--jpeg", "OVERLAY--jpeg"}

_STEP = "tests/sats_core/training/test_step.py"
_STOPPING = "tests/app/cli/test_stopping.py"
_MIXED = "tests/worker/test_mixed_versions.py"

KEPT = frozenset(
    {
        "tests/app/test_fuzz.py::test_any_request_of_the_document",
        "tests/app/test_degraded.py::test_without_redis_tasks_are_accepted_and_run_when_it_is_back",
        "tests/app/web/test_pages.py::test_from_the_login_to_the_roll_back",
        "tests/faults/test_faults.py::test_a_few_faults_break_no_invariant",
        "tests/worker/test_end_to_end.py::test_two_steps_over_http",
        "tests/worker/test_worker_process.py"
        "::test_killing_the_worker_ends_its_child_and_another_worker_resumes",
    }
)
"""Costly, and in `make test` all the same."""

LONG = {
    "tests/benchmarks/test_serving.py::test_a_tiny_run_of_ours_and_plain_fastapi": (
        "tests/benchmarks/test_serving.py::test_the_limit_answers_everybody_in_the_queue"
    ),
    "tests/app/cli/test_running.py::test_killed_with_9_serve_takes_its_children_along": (
        "tests/app/processes/test_children.py::test_what_it_left_is_ended_as_soon_as_its_end_is_seen"
    ),
    "tests/app/web/test_retiring.py::test_what_will_happen_is_said_before_it_does": (
        "tests/app/web/test_retiring.py::test_what_is_refused_is_said_in_the_dialog"
    ),
    "tests/app/web/test_settings.py::test_settings_are_read_on_a_phone": (
        "tests/app/web/test_settings.py::test_every_setting_is_shown_once_in_its_order"
    ),
    "tests/benchmarks/test_learning.py::test_a_preset_from_pretrained_weights_starts_from_them": (
        "tests/benchmarks/test_learning.py::test_tuning_leaves_the_validation_pictures_alone"
    ),
    "tests/benchmarks/test_lower_precision.py::test_every_way_is_compared": (
        "tests/benchmarks/test_lower_precision.py::test_the_largest_loss_of_a_class_counts"
    ),
    "tests/benchmarks/test_retiring.py::test_a_class_is_learned_and_taken_away": (
        "tests/benchmarks/test_retiring.py::test_the_bars"
    ),
    "tests/benchmarks/test_costs.py::test_step_cost": (
        "tests/sats_core/losses/test_attention.py::test_is_the_definition_on_any_grid"
    ),
    "tests/app/cli/test_audit_gradients.py::test_a_directory_is_audited": (
        "tests/sats_core/evaluation/test_leakage.py::test_ten_iterations_bring_every_attack_closer"
    ),
    "tests/faults/test_faults.py::test_no_invariant_breaks[embedded]": (
        "tests/faults/test_faults.py::test_no_invariant_breaks[served]"
    ),
    "tests/hostile/test_half_a_gibibyte.py"
    "::test_half_a_gibibyte_takes_little_memory_and_leaves_nothing": (
        "tests/app/uploads/test_checks.py::test_a_large_upload_takes_little_memory"
    ),
    f"{_STOPPING}::test_what_cannot_be_finished_is_refused_before_the_end[serve-embedded]": (
        f"{_STOPPING}::test_what_cannot_be_finished_is_refused_before_the_end[several-embedded]"
    ),
    f"{_STOPPING}::test_told_by_systemd_and_by_its_parent_a_process_still_answers[one-embedded]": (
        f"{_STOPPING}::test_what_was_accepted_is_answered_and_nobody_else_let_in[one-embedded]"
    ),
    f"{_STOPPING}"
    "::test_told_by_systemd_and_by_its_parent_a_process_still_answers[serve-embedded]": (
        f"{_STOPPING}"
        "::test_told_by_systemd_and_by_its_parent_a_process_still_answers[several-embedded]"
    ),
    f"{_STOPPING}::test_the_second_signal_ends_it_at_once[serve-embedded]": (
        f"{_STOPPING}::test_the_second_signal_ends_it_at_once[several-embedded]"
    ),
    f"{_MIXED}::test_the_old_core_learns_and_the_new_one_learns_on_from_it[served]": (
        f"{_MIXED}::test_an_old_worker_runs_what_is_posted_to_this_release[embedded]"
    ),
    f"{_MIXED}::test_a_step_that_the_old_core_began_is_finished_by_the_new_one[served]": (
        f"{_MIXED}::test_what_an_old_worker_puts_back_a_new_one_finishes[embedded]"
    ),
    "tests/app/keys/test_secrets.py::test_a_run_of_task_and_segment_leaves_no_key_behind": (
        "tests/app/keys/test_secrets.py::test_what_is_asked_and_learned_leaves_no_key_behind"
    ),
    "tests/benchmarks/test_costs.py::test_attention_transfer": (
        "tests/sats_core/losses/test_attention.py::test_is_the_definition_on_any_grid"
    ),
    "tests/benchmarks/test_heads.py::test_blocks_are_measured": (
        "tests/sats_core/models/test_nonlocal_block.py::test_the_scaled_block_never_holds_a_map"
    ),
    "tests/benchmarks/test_heads.py::test_heads_are_trained_and_scored": (
        "tests/sats_core/methods/test_base_step.py::test_the_focal_head_is_told_where_objects_are"
    ),
    "tests/benchmarks/test_demo_trial.py::test_a_run_is_kept": (
        "tests/demo/test_run.py::test_the_whole_demo_runs_and_says_what_does_not_hold"
    ),
    "tests/benchmarks/test_learning.py::test_a_protocol_from_pictures_to_report": (
        "tests/benchmarks/test_learning.py::test_tuning_leaves_the_validation_pictures_alone"
    ),
    "tests/benchmarks/test_learning.py"
    "::test_every_stage_of_joint_is_one_schedule_from_the_same_start": (
        "tests/benchmarks/test_learning.py::test_stages_of_other_lengths_are_not_taken_up"
    ),
    "tests/benchmarks/test_learning.py"
    "::test_curvature_is_kept_with_versions_and_that_of_the_base_with_the_run": (
        "tests/sats_core/methods/test_kfac.py"
        "::test_new_rows_are_held_by_nothing_until_a_later_step_holds_them"
    ),
    "tests/benchmarks/test_learning.py::test_runs_in_processes_of_their_own": (
        "tests/benchmarks/test_learning.py::test_tuning_leaves_the_validation_pictures_alone"
    ),
    "tests/benchmarks/test_load.py::test_no_errors_under_a_little_load": (
        "tests/benchmarks/test_load.py::test_what_is_seen_of_a_service_that_is_asked_for_a_moment"
    ),
    "tests/benchmarks/test_promotions.py::test_two_processes_follow": (
        "tests/benchmarks/test_load.py::test_what_is_seen_of_a_service_that_is_asked_for_a_moment"
    ),
    "tests/benchmarks/test_real_pictures.py::test_a_new_class_on_real_pictures": (
        "tests/sats_core/training/test_learning.py"
        "::test_a_base_step_learns_and_a_method_forgets_less_than_none"
    ),
    "tests/benchmarks/test_serving.py::test_every_contestant_answers_the_same_mask": (
        "tests/benchmarks/test_serving.py::test_the_limit_answers_everybody_in_the_queue"
    ),
    "tests/benchmarks/test_serving.py"
    "::test_rounds_are_added_and_what_the_service_does_beside_is_kept": (
        "tests/benchmarks/test_serving.py::test_the_limit_answers_everybody_in_the_queue"
    ),
    "tests/benchmarks/test_serving_trace.py::test_a_real_request_is_traced": (
        "tests/benchmarks/test_serving_trace.py::test_what_is_left_is_what_no_stage_has"
    ),
    "tests/hostile/test_memory.py::test_the_worst_files_take_little_memory[all]": (
        "tests/hostile/test_memory.py::test_the_worst_files_take_little_memory[small]"
    ),
    "tests/hostile/test_api_memory.py::test_the_other_files_take_little_of_the_api": (
        "tests/hostile/test_api_memory.py::test_the_worst_files_take_little_of_the_api"
    ),
    **{f"{_SERVED}[{form}]": f"{_SERVED}[OVERLAY--jpeg]" for form in _OTHER_FORMS},
    f"{_STEP}::test_a_checkpoint_that_cannot_be_used_is_not[of another step]": (
        "tests/sats_core/training/test_checkpoint.py"
        "::test_a_checkpoint_of_another_job_is_of_another_step"
    ),
    f"{_STEP}::test_interrupted_and_resumed_is_uninterrupted[adamw-finetune]": (
        f"{_STEP}::test_interrupted_and_resumed_is_uninterrupted[adamw-sats]"
    ),
    f"{_STEP}::test_interrupted_and_resumed_is_uninterrupted[sgd-sats]": (
        f"{_STEP}::test_interrupted_and_resumed_is_uninterrupted[sgd-finetune]"
    ),
    "tests/sats_core/training/test_features.py::test_a_later_step_that_trains_adds_its_own[mib]": (
        "tests/sats_core/training/test_features.py"
        "::test_a_later_step_that_trains_adds_its_own[sats_plus]"
    ),
    "tests/worker/test_end_to_end.py"
    "::test_a_preview_is_live_before_its_task_and_scored_on_the_same_pictures": (
        "tests/worker/test_previews.py::test_the_task_s_version_replaces_the_preview"
    ),
    "tests/worker/test_end_to_end.py::test_a_step_whose_child_and_worker_are_killed_resumes": (
        "tests/worker/test_worker_process.py"
        "::test_killing_the_worker_ends_its_child_and_another_worker_resumes"
    ),
    "tests/worker/test_end_to_end.py"
    "::test_a_broken_picture_is_named_and_sigterm_stops_the_real_child": (
        "tests/worker/test_interruptions.py::test_stopping_gives_the_task_back_and_costs_no_try"
    ),
    "tests/worker/test_end_to_end.py::test_a_task_that_names_no_method_is_solved_in_one_pass": (
        f"{_STEP}::test_a_frozen_step_is_one_pass_and_says_so"
    ),
    "tests/worker/test_end_to_end.py::test_what_roboflow_exports_is_learned": (
        f"{_STEP}::test_a_class_that_nothing_shows_is_left_out_unless_the_task_names_it"
    ),
    "tests/worker/test_ranks.py::test_two_processes_make_the_version_that_one_does": (
        "tests/sats_core/training/test_ranks.py::test_two_ranks_learn_what_one_process_does[base]"
    ),
    "tests/worker/test_ranks.py::test_what_ends_a_rank_is_the_steps_failure[memory-memory-9 GiB]": (
        "tests/worker/test_ranks.py"
        "::test_what_ends_a_rank_is_the_steps_failure[diverged-input-cross_entropy is nan]"
    ),
    "tests/worker/test_ranks.py::test_a_bug_in_a_rank_is_in_the_log": (
        "tests/worker/test_ranks.py"
        "::test_what_ends_a_rank_is_the_steps_failure[diverged-input-cross_entropy is nan]"
    ),
    "tests/worker/test_ranks.py::test_two_go_on_where_one_was_and_stop_when_they_are_asked": (
        "tests/worker/test_ranks.py"
        "::test_a_rank_that_is_killed_ends_the_step_as_if_it_were_all_of_it"
    ),
    "tests/worker/test_end_to_end.py::test_two_steps_over_http[served]": (
        "tests/worker/test_end_to_end.py::test_two_steps_over_http[embedded]"
    ),
    "tests/worker/test_import_end_to_end.py::test_an_unscored_import_and_its_chart": (
        "tests/worker/test_imports.py"
        "::test_a_step_on_an_unscored_import_goes_live_and_the_gate_says_what_it_cannot"
    ),
    "tests/worker/test_import_end_to_end.py::test_in_a_step_on_top_and_out_again[served]": (
        "tests/worker/test_import_end_to_end.py::test_in_a_step_on_top_and_out_again[embedded]"
    ),
    "tests/worker/test_import_end_to_end.py::test_killed_in_the_middle_an_import_starts_again": (
        "tests/worker/test_imports.py::test_an_import_that_lost_its_child_starts_again"
    ),
    "tests/worker/test_shared_nothing.py"
    "::test_a_real_step_goes_on_from_its_checkpoint_on_another_host": (
        "tests/worker/test_shared_nothing.py"
        "::test_what_one_worker_began_another_finishes_though_its_host_is_gone"
    ),
    "tests/worker/test_import_end_to_end.py::test_weights_that_do_not_fit_fail_the_task": (
        "tests/worker/test_imports.py::test_a_wrong_checkpoint_fails_the_task_and_leaves_nothing"
    ),
}
"""Long tests, and for each the cheaper one of the same fact."""

ON_ONE_PAIR = (
    "tests/app/cli/test_audit_gradients.py",
    "tests/app/cli/test_export.py",
    "tests/app/cli/test_import.py",
    "tests/app/cli/test_import_project.py",
    "tests/app/cli/test_running.py",
    "tests/app/cli/test_segment.py",
    "tests/app/cli/test_settings.py",
    "tests/app/http/test_connected.py",
    "tests/app/admin/test_admin.py",
    "tests/app/admin/test_downloads.py",
    "tests/app/deletion/test_endpoints.py",
    "tests/app/imports/test_endpoint.py",
    "tests/app/integrations/fiftyone/test_real.py",
    "tests/app/integrations/label_studio/test_keys.py",
    "tests/app/integrations/label_studio/test_leaving.py",
    "tests/app/integrations/label_studio/test_predict.py",
    "tests/app/integrations/label_studio/test_training.py",
    "tests/app/integrations/mlflow/test_mirroring.py",
    "tests/app/keys/test_cache.py",
    "tests/app/keys/test_limits.py",
    "tests/app/probes/test_warm_up.py",
    "tests/app/integrations/protocols/",
    "tests/app/retirement/",
    "tests/app/segmentation/test_admission.py",
    "tests/app/segmentation/test_base64.py",
    "tests/app/segmentation/test_direct.py",
    "tests/app/segmentation/test_forms.py",
    "tests/app/segmentation/test_load.py",
    "tests/app/segmentation/test_negotiation.py",
    "tests/app/segmentation/test_parameters.py",
    "tests/app/segmentation/test_refusals.py",
    "tests/app/segmentation/test_segment.py",
    "tests/app/segmentation/test_size.py",
    "tests/app/segmentation/test_upload.py",
    "tests/app/segmentation/test_versions.py",
    "tests/app/segmentation/test_waiting.py",
    "tests/app/retirement/test_endpoint.py",
    "tests/app/tasks/test_post.py",
    "tests/app/tasks/test_post_spec.py",
    "tests/app/tasks/test_previews.py",
    "tests/app/tasks/test_states.py",
    "tests/app/tasks/test_stream.py",
    "tests/app/tasks/test_stream_tokens.py",
    "tests/app/tasks/test_streams.py",
    "tests/app/tasks/test_dropped_streams.py",
    "tests/app/tasks/test_watching.py",
    "tests/app/test_access.py",
    "tests/app/tasks/test_disk.py",
    "tests/app/test_whole_numbers.py",
    "tests/app/webhooks/test_endpoints.py",
    "tests/app/http/",
    "tests/clients/",
    "tests/docs/test_pages.py",
    "tests/worker/test_erasing.py",
    "tests/worker/test_failures.py",
    "tests/worker/test_floor.py",
    "tests/worker/test_imports.py",
    "tests/worker/test_interruptions.py",
    "tests/worker/test_memory.py",
    "tests/worker/test_mixed_versions.py",
    "tests/worker/test_parents.py",
    "tests/worker/test_preparing.py",
    "tests/worker/test_presence.py",
    "tests/worker/test_previews.py",
    "tests/worker/test_results.py",
    "tests/worker/test_retention.py",
    "tests/worker/test_retirements.py",
    "tests/worker/test_sharing.py",
    "tests/worker/test_stored.py",
    "tests/worker/test_supervisor.py",
    "tests/worker/test_tidying.py",
    "tests/worker/test_traces.py",
    "tests/worker/test_webhooks.py",
    "tests/worker/test_worker_process.py::test_a_task_that_nobody_may_take_waits_until_somebody_comes_who_may",
    "tests/worker/test_worker_process.py::test_a_wake_up_that_was_lost_is_not_missed",
    "tests/worker/test_worker_process.py::test_cancelling_a_running_task",
    "tests/worker/test_worker_process.py::test_files_that_are_no_messages_do_not_end_the_worker",
    "tests/worker/test_worker_process.py::test_each_of_two_kinds_of_workers_takes_what_asks_for_it",
    "tests/worker/test_worker_process.py::test_killing_the_child_costs_a_try_and_resumes",
    "tests/worker/test_worker_process.py::test_killing_the_worker_ends_its_child_and_another_worker_resumes",
    "tests/worker/test_worker_process.py::test_killing_the_worker_between_result_and_registration",
    "tests/worker/test_worker_process.py::test_one_model_one_after_another_two_models_side_by_side",
    "tests/worker/test_worker_process.py::test_sigterm_gives_the_task_back_at_no_cost",
)
"""Files, and single tests, that `make test-whole` runs on SQLite and files alone."""

SLOW = (
    "tests/app/backup/",
    "tests/app/cli/test_audit_gradients.py",
    "tests/app/cli/test_calling.py",
    "tests/app/cli/test_import.py",
    "tests/app/cli/test_import_project.py",
    "tests/app/cli/test_running.py",
    "tests/app/cli/test_stopping.py",
    "tests/app/deletion/",
    "tests/app/doctor/",
    "tests/app/inference/test_agreement_with_torch.py",
    "tests/app/integrations/protocols/test_documented_clients.py",
    "tests/app/storage/test_bucket_faults.py",
    "tests/app/storage/test_contract.py",
    "tests/app/storage/test_installation.py",
    "tests/app/tasks/test_dropped_streams.py",
    "tests/app/web/test_audit.py",
    "tests/app/web/test_compare.py",
    "tests/app/web/test_held_out.py",
    "tests/app/web/test_keys.py",
    "tests/app/web/test_new_task.py",
    "tests/app/web/test_pages.py",
    "tests/app/web/test_settings.py",
    "tests/app/web/test_try.py",
    "tests/benchmarks/",
    "tests/clients/test_tasks.py",
    "tests/demo/test_run.py",
    "tests/deployment/",
    "tests/faults/",
    "tests/hostile/",
    "tests/label_studio/",
    "tests/mlflow/",
    "tests/sats_core/data/test_batches.py",
    "tests/sats_core/data/test_prediction.py",
    "tests/sats_core/data/test_view.py",
    "tests/sats_core/evaluation/",
    "tests/sats_core/losses/",
    "tests/sats_core/methods/",
    "tests/sats_core/models/",
    "tests/sats_core/segformer/",
    "tests/sats_core/test_export.py",
    "tests/sats_core/test_files.py",
    "tests/sats_core/test_serving_graph.py",
    "tests/sats_core/training/",
    "tests/worker/",
)
"""What `make test-quick` leaves out, and does not even import."""


def arrange(items: list[pytest.Item]) -> None:
    """Put what is marked as slow first, and mark tests with what they belong to."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    measured = costly.read() - KEPT
    for item in items:
        if costly.function_of(item.nodeid) in measured:
            item.add_marker("costly")
        called = getattr(item, "callspec", None)
        served = called is not None and called.params.get("database_url") == "served"
        if served:
            item.add_marker("served")
        races = item.get_closest_marker("races") is not None
        on_one = item.nodeid.startswith(ON_ONE_PAIR) and not races
        if is_long(item.nodeid) or (served and on_one):
            item.add_marker("long")
        if item.nodeid.startswith(SLOW):
            item.add_marker("slow")


def is_long(nodeid: str) -> bool:
    """Return whether a test, or the function that it is made from, stands in the table."""
    return nodeid in LONG or nodeid.split("[")[0] in LONG
