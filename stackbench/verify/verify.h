// `stackbench verify default-deny`: does default-deny hold in these namespaces, by what policies
// say and by what packets do.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/interrupt.h"
#include "base/result.h"
#include "base/terminal.h"
#include "cluster/kubernetes/kubernetes_target.h"
#include "stackbench/verify/coverage.h"
#include "stackbench/verify/probing.h"

namespace stackbench {

struct VerifyOptions {
  cluster::KubernetesOptions cluster;
  std::vector<std::string> namespaces;
  std::vector<checks::PolicyDirection> directions = {checks::PolicyDirection::ingress,
                                                     checks::PolicyDirection::egress};
  bool probes = true;
  std::vector<base::Endpoint> external = {};  // outside of the cluster, knocked at by TCP
  bool ephemeral = false;                     // workloads' own pods may be joined
  double rate = 200;                          // packets a second that ask
  std::optional<SavedCoverage> against = {};
};

enum class ClaimVerdict { pass, fail, inconclusive };

struct VerifyResult {
  std::string target = "kubernetes";
  std::vector<std::string> namespaces;
  std::string engine;  // who would enforce, and how that is known
  std::vector<WorkloadCoverage> coverage;
  std::optional<ProbingResult> probing;
  std::vector<Unprobed> unprobed;     // before anything was made; those of probing beside
  std::vector<Unprobed> unmade = {};  // whose pods are not known at all
  std::vector<std::string> notes;     // what was not looked at, and why
  std::optional<std::vector<std::string>> drift;  // absent: with nothing to compare

  // As LiveWorld's.
  std::optional<std::map<std::string, std::vector<std::string>>> selected_namespaces = {};

  [[nodiscard]] SavedCoverage to_save() const;
  [[nodiscard]] base::Json to_json() const;
};

// What the result amounts to. It fails where a pod is uncovered or let everybody through, where
// what policies deny is open, and where something is other than it was. It is inconclusive where
// something is unknown, or was to be probed and could not be.
[[nodiscard]] ClaimVerdict verdict_of(const VerifyResult& result);
[[nodiscard]] int exit_code_of(ClaimVerdict verdict);

// Asked with the plan in words before anything is made; false: nothing is, and there is no result.
using Consent = std::function<base::Result<bool>(const std::string& plan)>;

// Errors: as KubernetesTarget::create(); input (no such namespace, a saved state of another kind);
// not_permitted (a right is missing, before anything is made); and as Probing::run(). What was made
// is gone when this returns, or the error says that it is not.
[[nodiscard]] base::Result<std::optional<VerifyResult>> verify_default_deny(
    const VerifyOptions& options, const Consent& consent);

// What both a cluster and a lab are asked, step by step. What policies say, and how that differs
// from another day's. Errors: input (a saved state of another kind).
[[nodiscard]] base::Result<VerifyResult> judge_policies(const VerifyOptions& options,
                                                        const LiveWorld& world, std::string engine);
// What packets do. Errors: as Probing::run(); what was made is gone when this returns, or the error
// says that it is not.
[[nodiscard]] base::Result<> probe_with(ProbePods& pods, const ProbePlan& plan,
                                        checks::PolicyWorld world,
                                        const std::vector<ProbeOutside>& outside,
                                        const ProbingOptions& probing, VerifyResult& result);

// As a person reads it.
[[nodiscard]] std::string render(const VerifyResult& result, const base::Terminal& terminal);
// What would be made and asked.
[[nodiscard]] std::string render(const ProbePlan& plan, std::size_t probes,
                                 const VerifyOptions& options);
// The same of a lab, with so many pods of the manifests.
[[nodiscard]] std::string render_lab(const ProbePlan& plan, std::size_t pods);

}  // namespace stackbench

template <>
struct base::EnumNames<stackbench::ClaimVerdict> {
  static constexpr std::array names{
      std::pair{stackbench::ClaimVerdict::pass, std::string_view("pass")},
      std::pair{stackbench::ClaimVerdict::fail, std::string_view("fail")},
      std::pair{stackbench::ClaimVerdict::inconclusive, std::string_view("inconclusive")}};
};
