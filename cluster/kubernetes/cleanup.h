// Deletes what we created, and waits until it is gone.
#pragma once

#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/manifests.h"

namespace cluster {

// Everything of a placement: its namespace, or what is labelled so in one that is shared. Once it
// is gone, nothing happens. Pods of nodes that are gone are taken away by force
// (cluster/kubernetes/lost_pods.h). Errors: timed_out (something holds it: a finalizer, a pod that
// does not end), not_permitted, system.
[[nodiscard]] base::Result<> remove_objects(const ApiOptions& api, const Placement& place);
// The same of several, all told to go before any is waited for. Goes on after an error and returns
// the first.
[[nodiscard]] base::Result<> remove_objects(const ApiOptions& api,
                                            const std::vector<Placement>& places);

// The same without waiting.
[[nodiscard]] base::Result<> delete_objects(ApiClient& api, const Placement& place);
[[nodiscard]] base::Result<> await_removal(const ApiOptions& api, const Placement& place,
                                           base::MonotonicTime deadline);
// How long from now what was deleted may take.
[[nodiscard]] base::MonotonicTime removal_deadline();

}  // namespace cluster
