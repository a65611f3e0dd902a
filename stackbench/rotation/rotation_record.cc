// What was noticed of rotations, as the report has it and as checks judge it.
#include <algorithm>

#include "stackbench/rotation/rotation_run.h"

namespace stackbench {
namespace {

std::vector<reports::RotationTrafficRecord> traffic_records(
    const std::vector<checks::TrafficDuring>& all) {
  std::vector<reports::RotationTrafficRecord> records;
  for (const auto& one : all) {
    records.push_back({.name = one.traffic,
                       .answered = one.answered,
                       .failed = one.failed,
                       .longest_gap_ns = one.longest_gap_ns,
                       .went_on = one.went_on});
  }
  return records;
}

reports::RotationStepRecord step_record(const checks::StepOutcome& step, std::int64_t begins_ns) {
  reports::RotationStepRecord record{.number = step.number,
                                     .step = std::string(base::enum_name(step.step)),
                                     .at_ns = step.begins_ns - begins_ns,
                                     .watched_ns = step.ends_ns - step.begins_ns,
                                     .traffic = traffic_records(step.traffic),
                                     .not_renewed = step.not_renewed};
  for (const auto& renewal : step.renewals) {
    record.renewals.push_back({.pod = renewal.pod,
                               .identity = renewal.identity,
                               .serial = renewal.serial,
                               .not_after_s = renewal.not_after_s,
                               .shown_ns = renewal.shown_ns,
                               .error_ns = renewal.error_ns});
  }
  if (step.handshakes) {
    record.handshakes = step.handshakes->handshakes;
    record.resumed = step.handshakes->resumed;
  }
  return record;
}

reports::ExpiredRecord expired_record(const checks::ExpiredCertificate& one,
                                      std::int64_t begins_ns) {
  reports::ExpiredRecord record{.pod = one.pod,
                                .identity = one.identity,
                                .serial = one.serial,
                                .expired_at_ns = one.expired_ns - begins_ns,
                                .shown_for_ns = one.shown_until_ns - one.expired_ns};
  for (const auto& since : one.since) {
    record.since.push_back(
        {.name = since.traffic, .answered = since.answered, .failed = since.failed});
  }
  return record;
}

}  // namespace

void add_rotation(const std::string& environment, const checks::RotationOutcome& outcome,
                  reports::RotationRecord& record) {
  reports::RotationStepRecord before{.environment = environment,
                                     .traffic = traffic_records(outcome.before)};
  if (!outcome.steps.empty()) {
    before.watched_ns = outcome.steps.front().begins_ns - outcome.begins_ns;
  }
  record.steps.push_back(std::move(before));
  for (const auto& step : outcome.steps) {
    record.steps.push_back(step_record(step, outcome.begins_ns));
    record.steps.back().environment = environment;
  }
  for (const auto& one : outcome.expired) {
    record.expired.push_back(expired_record(one, outcome.begins_ns));
    record.expired.back().environment = environment;
  }
}

checks::Finding judge_rotation(CheckKind kind, const RotationSpec& rotation,
                               const checks::RotationOutcome& outcome, const std::string& traffic) {
  if (kind == CheckKind::certificates_renewed) {
    return checks::certificates_renewed(outcome, rotation.budget.renewed);
  }
  if (kind == CheckKind::certificates_valid) return checks::certificates_valid_throughout(outcome);
  return checks::rotation_is_seamless(outcome, traffic, rotation.budget.gap);
}

}  // namespace stackbench
