// Pods of ours whose node is gone: the API server waits for a kubelet to say that they have ended,
// and nobody ever does. They are taken out of the API by force, once nothing else is to be
// expected.
#pragma once

#include <map>
#include <set>
#include <string>

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/manifests.h"

namespace cluster {

class LostPods {
 public:
  explicit LostPods(Placement place) : place_(std::move(place)) {}

  // To be called now and then while deleted pods of the placement are waited for. Deletes with a
  // grace period of 0 those that should have ended by now, on nodes that are not Ready or no longer
  // there. A pod that still runs there goes on until the node is back: its kubelet ends it then.
  // Errors: not_permitted (to delete pods as a collection), and as ApiClient::checked().
  base::Result<> remove(ApiClient& api);

  // The nodes of pods that are deleted and should have ended. `pods`: a list; `now`: when it was
  // read. A pod's time counts from the first list it was deleted in, by our own clock.
  [[nodiscard]] std::set<std::string> overdue(const base::Json& pods, base::MonotonicTime now);

 private:
  Placement place_;
  std::map<std::string, base::MonotonicTime> deleted_since_;  // by uid
};

}  // namespace cluster
