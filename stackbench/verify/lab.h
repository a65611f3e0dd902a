// `verify default-deny` of manifests that are in no cluster yet: in a lab of this machine.
#pragma once

#include <string>
#include <vector>

#include "cluster/topology.h"
#include "stackbench/verify/manifests.h"
#include "stackbench/verify/verify.h"

namespace stackbench {

struct LabVerifyOptions {
  std::vector<ManifestText> manifests;
  std::string agent = {};                       // as cluster::LabOptions
  std::vector<cluster::FaultKind> faults = {};  // what is broken on purpose
};

// As verify_default_deny(), of what the manifests would make; of `options` what is about a cluster
// counts for nothing. Without probes it needs no lab, and no rights. Errors: as objects_of(), and
// as LabTarget's.
[[nodiscard]] base::Result<std::optional<VerifyResult>> verify_manifests(
    const VerifyOptions& options, const LabVerifyOptions& lab, const Consent& consent);

}  // namespace stackbench
