#include "stackbench/plaintext/window_run.h"

#include <algorithm>
#include <utility>

#include "base/kube/peer_authentication.h"

namespace stackbench {
namespace {

using base::kube::MtlsMode;

// Before a change: that things were as they should be is seen, too.
constexpr base::Duration lead = std::chrono::milliseconds(100);
// The flip's object, which is the run's own and goes with it. On a cluster it is the one by which
// the environment has its mode: of two that hold for a whole namespace Istio heeds the older alone.
constexpr std::string_view object_name = "plaintext-window";
constexpr std::string_view object_on_cluster = "default";

base::Json namespace_wide(std::string_view name, const std::string& in_namespace, MtlsMode mode) {
  // With nothing that is empty: Istio refuses an empty portLevelMtls, and any without a selector.
  return {{"apiVersion", base::kube::peer_authentication_api_version},
          {"kind", base::kube::peer_authentication_kind},
          {"metadata", {{"name", name}, {"namespace", in_namespace}}},
          {"spec", {{"mtls", {{"mode", base::enum_name(mode)}}}}}};
}

std::string first_pod(const std::string& group) { return group + "-0"; }

// One change, as often as it is asked.
class Change {
 public:
  Change(cluster::Target& target, Session& session, std::size_t environment, const Plan& plan,
         const MeshChangeSpec& change, const base::Interrupt& interrupt)
      : target_(target),
        session_(session),
        environment_(environment),
        name_(session.environments()[environment].name),
        spec_(*plan.scenario.plaintext_window),
        change_(change),
        interrupt_(interrupt),
        group_(plan.scenario.topology.services.at(spec_.service).target),
        namespace_(plan.scenario.topology.pods.at(group_).in_namespace) {
    const auto& mesh = plan.environments[environment].mesh;
    if (mesh) mode_ = mesh->spec.mode;
  }

  base::Result<> run(reports::PlaintextWindowRecord& record,
                     std::vector<checks::ChangeSeen>& repetitions) {
    const int wanted = spec_.repetitions;
    int told = 0;
    for (int i = 0; told < wanted && i < wanted + (wanted + 1) / 2; ++i) {
      SeenChange seen;
      ChangeDone done;
      RETURN_IF_ERROR(once(seen, done));
      const auto wire = seen.wire;
      const bool all_kept = seen.all_kept;
      const auto watch = mesh_watch(std::move(seen), done);
      auto judged = checks::look_at(watch);
      if (!all_kept) judged.not_judged = "there were more knocks than can be kept";
      if (unwatched_) {
        judged.not_judged = "nobody had knocked at the new pod before its proxy took connections";
      }
      if (judged.not_judged.empty()) ++told;
      record.repetitions.push_back(plaintext_repetition(watch, judged, done, wire));
      repetitions.push_back(std::move(judged));
    }
    return {};
  }

 private:
  [[nodiscard]] base::Result<> wait(base::Duration span) const {
    return interrupt_.wait_until(base::monotonic_now() + span);
  }
  // A pod of the Service: the one that changes, where it is one.
  [[nodiscard]] std::string door() const {
    const auto client = first_pod(spec_.client);
    return change_.pod && *change_.pod != client ? *change_.pod : first_pod(group_);
  }

  base::Result<> once(SeenChange& seen, ChangeDone& done) {
    ASSIGN_OR_RETURN(auto watch, ChangeWatch::start(session_, environment_, spec_, group_, door()));
    RETURN_IF_ERROR(wait(lead));
    switch (change_.kind) {
      case MeshChange::pod_start: {
        ASSIGN_OR_RETURN(done, start_pod(watch));
        break;
      }
      case MeshChange::proxy_restart:
      case MeshChange::proxy_crash: {
        const auto how = change_.kind == MeshChange::proxy_crash ? cluster::ProxyEnd::killed
                                                                 : cluster::ProxyEnd::terminated;
        ASSIGN_OR_RETURN(done.stamps, target_.restart_proxy(name_, *change_.pod, how));
        break;
      }
      case MeshChange::policy_flip:
        return flip(watch, seen, done);
    }
    RETURN_IF_ERROR(wait(spec_.window));
    ASSIGN_OR_RETURN(seen, watch.stop());
    unwatched_ = change_.kind == MeshChange::pod_start && session_.agent_ends_with_pod() &&
                 change_.pod == door() && !knocked_before_proxy(seen);
    return {};
  }

  // A proxy that is a sidecar of Kubernetes serves before its pod's own containers start; until
  // then nobody listens where connections are led to.
  static bool knocked_before_proxy(const SeenChange& seen) {
    return std::ranges::any_of(seen.outsider, [&](const bench::Knock& knock) {
      return knock.before_ns >= seen.door_since_ns && knock.outcome == bench::ReachOutcome::refused;
    });
  }

  base::Result<ChangeDone> start_pod(ChangeWatch& watch) {
    const auto& pod = *change_.pod;
    ChangeDone done;
    RETURN_IF_ERROR(watch.stop_application(pod));
    const auto at_address = [&](const cluster::PodHandle& handle) -> base::Result<> {
      const bool known = handle.ipv4 != base::IpAddress{};
      return pod == door() && known ? watch.knock_at(handle.ipv4) : base::Result<>();
    };
    if (session_.agent_ends_with_pod()) {
      // What is the pod's own starts with it, after whatever else the target starts in it.
      const auto plan = watch.plan_of(pod);
      session_.let_go(environment_, pod);
      ASSIGN_OR_RETURN(done.stamps, target_.restart_pod(name_, pod,
                                                        {.agent_plan = bench::to_text(plan),
                                                         .on_address = at_address}));
      RETURN_IF_ERROR(session_.look_again(environment_));
      ASSIGN_OR_RETURN(auto* const agent, session_.agent_of_plan(environment_, pod, plan));
      RETURN_IF_ERROR(watch.application_is_there(pod, *agent));
      return done;
    }
    const auto start = [&]() -> base::Result<> {
      RETURN_IF_ERROR(watch.start_application(pod));
      done.listening_ns = base::monotonic_now().ns;
      return {};
    };
    ASSIGN_OR_RETURN(
        done.stamps,
        target_.restart_pod(name_, pod, {.on_address = at_address, .start_application = start}));
    RETURN_IF_ERROR(session_.look_again(environment_));
    return done;
  }

  [[nodiscard]] base::Json policy(MtlsMode mode) const {
    return namespace_wide(session_.agent_ends_with_pod() ? object_on_cluster : object_name,
                          namespace_, mode);
  }
  // PERMISSIVE, and STRICT again. Afterwards the mode is the environment's, after an error, too, as
  // far as the target still answers.
  base::Result<> flip(ChangeWatch& watch, SeenChange& seen, ChangeDone& done) {
    const auto flipped = write_both(watch, seen, done);
    const auto undone =
        session_.agent_ends_with_pod()
            ? target_.apply(name_, policy(mode_))
            : target_.remove(name_, base::kube::peer_authentication_kind, object_name);
    RETURN_IF_ERROR(flipped);
    RETURN_IF_ERROR(undone);
    return {};
  }

  base::Result<> write_both(ChangeWatch& watch, SeenChange& seen, ChangeDone& done) {
    ASSIGN_OR_RETURN(const auto opened, target_.apply(name_, policy(MtlsMode::PERMISSIVE)));
    done.permitted_ns = opened.acked_ns;
    RETURN_IF_ERROR(wait(spec_.window));
    ASSIGN_OR_RETURN(done.stamps, target_.apply(name_, policy(MtlsMode::STRICT)));
    done.closes = true;
    RETURN_IF_ERROR(wait(spec_.window));
    ASSIGN_OR_RETURN(seen, watch.stop());
    return {};
  }

  cluster::Target& target_;
  Session& session_;
  std::size_t environment_;
  std::string name_;
  const PlaintextWindowSpec& spec_;
  const MeshChangeSpec& change_;
  const base::Interrupt& interrupt_;
  std::string group_;  // of the pods behind the Service
  std::string namespace_;
  MtlsMode mode_ = MtlsMode::STRICT;
  bool unwatched_ = false;  // the last time, of a pod made anew: its first instants
};

// Why a capture proves nothing; empty where it does.
std::string trouble_of(const probes::WireReport& wire) {
  if (wire.lost > 0) return fmt::format("the capture lost {} packets", wire.lost);
  if (wire.unwatched > 0) {
    return fmt::format("the capture had no memory for {} segments", wire.unwatched);
  }
  for (const auto* samples : {&wire.samples_before, &wire.samples_after}) {
    const auto missed = [](const probes::SampleSeen& sample) { return !sample.request; };
    if (samples->empty() || std::ranges::any_of(*samples, missed)) {
      return "the capture did not find what it was tried with";
    }
  }
  return {};
}

std::uint64_t found(const probes::WireReport& wire, const std::string& name) {
  const auto count = wire.canaries.find(name);
  return count == wire.canaries.end() ? 0 : count->second;
}

reports::PlaintextSpan span_of(const checks::PlainWindow& window, std::int64_t sent_ns) {
  reports::PlaintextSpan span{.times = window.times};
  if (!window.seen()) return span;
  span.first_ns = window.first_ns - sent_ns;
  span.last_ns = window.last_ns - sent_ns;
  span.length_ns = window.length_ns();
  span.error_ns = window.error_ns();
  span.closed = window.closed.has_value();
  return span;
}

}  // namespace

checks::MeshWatch mesh_watch(SeenChange seen, const ChangeDone& done) {
  checks::MeshWatch watch{.from_ns = seen.from_ns,
                          .sent_ns = done.stamps.sent_ns,
                          .acked_ns = done.stamps.acked_ns,
                          .until_ns = seen.until_ns,
                          .client_since_ns = seen.client_since_ns,
                          .door_since_ns = seen.door_since_ns,
                          .closes = done.closes,
                          .outsider = std::move(seen.outsider),
                          .client = std::move(seen.client),
                          .readable = found(seen.wire, "client"),
                          .capture_trouble = trouble_of(seen.wire),
                          .clock_uncertainty = seen.clock_uncertainty};
  if (const auto span = seen.wire.spans.find("client"); span != seen.wire.spans.end()) {
    watch.readable_span = span->second;
  }
  return watch;
}

reports::PlaintextRepetition plaintext_repetition(const checks::MeshWatch& watch,
                                                  const checks::ChangeSeen& seen,
                                                  const ChangeDone& done,
                                                  const probes::WireReport& wire) {
  const auto since = [&](const std::optional<std::int64_t>& at) {
    return at ? std::optional(*at - watch.sent_ns) : std::nullopt;
  };
  reports::PlaintextRepetition one{
      .acked_ns = watch.acked_ns - watch.sent_ns,
      .programmed_ns = since(done.stamps.programmed_ns),
      .listening_ns = since(done.listening_ns),
      .intercepted_ns = since(done.stamps.intercepted_ns),
      .answered = span_of(seen.answered, watch.sent_ns),
      .readable = span_of(seen.readable, watch.sent_ns),
      .knocks = static_cast<std::uint64_t>(std::ranges::count_if(watch.outsider, checks::was_sent)),
      .knocks_readable = found(wire, "outsider"),
      .asked = seen.asked,
      .failed = seen.failed,
      .outage_ns = seen.outage_ns,
      .blind_ns = seen.blind_ns,
      .not_judged = seen.not_judged};
  if (!done.permitted_ns) return one;
  const auto first = std::ranges::find_if(watch.outsider, [](const bench::Knock& knock) {
    return knock.outcome == bench::ReachOutcome::answered;
  });
  if (first != watch.outsider.end()) one.opened_after_ns = first->after_ns - *done.permitted_ns;
  return one;
}

base::Result<> run_windows(cluster::Target& target, Session& session, const Plan& plan,
                           ReportBuilder& report, base::Progress& progress,
                           const base::Interrupt& interrupt,
                           const std::function<void()>& part_done) {
  const auto& spec = *plan.scenario.plaintext_window;
  const std::string check(base::enum_name(CheckKind::no_plaintext_window));
  const bool asked = !plan.scenario.checks.empty();
  for (std::size_t i = 0; i < session.environments().size(); ++i) {
    const auto environment = session.environments()[i].name;
    for (const auto& change : spec.changes) {
      if (!is_watched_in(change, environment)) continue;
      const std::string kind(base::enum_name(change.kind));
      const auto what = change.pod ? fmt::format("{} of {}", kind, *change.pod) : kind;
      progress.update(i, session.environments().size(), fmt::format("{} ({})", what, environment));
      reports::PlaintextWindowRecord record{.environment = environment,
                                            .change = kind,
                                            .pod = change.pod.value_or(""),
                                            .budget_ns = change.budget->count()};
      std::vector<checks::ChangeSeen> repetitions;
      const auto watched =
          Change(target, session, i, plan, change, interrupt).run(record, repetitions);
      checks::Finding finding;
      if (!watched && watched.error().kind == base::ErrorKind::missing) {
        // What the target lacks is nobody's failure.
        finding = {.verdict = base::Verdict::skip,
                   .sentence = watched.error().message,
                   .observed = "skipped",
                   .evidence = {}};
      } else if (!watched) {
        return watched;
      } else {
        finding = checks::no_plaintext_window(repetitions, spec.repetitions, *change.budget);
        report.add_plaintext_window(std::move(record));
      }
      if (asked) report.add_check(check, environment, what, std::move(finding));
      part_done();
    }
    progress.step_done(fmt::format("changes watched in {}", environment));
  }
  return {};
}

}  // namespace stackbench
