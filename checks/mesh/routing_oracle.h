// What VirtualService and DestinationRule say of a request, read apart from whoever enforces them:
// what it may come to, how likely each of that is, and how long it is held up. Sources: Istio's
// reference of both (istio.io/docs/reference/config/networking).
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/kube/destination_rule.h"
#include "base/kube/virtual_service.h"

namespace checks {

// A request as a client makes it.
struct RoutedRequest {
  std::string host = {};  // whole: "web.default.svc.cluster.local"
  std::string method = "GET";
  std::string path = "/0";                          // without a query
  std::map<std::string, std::string> headers = {};  // by name, in small letters
};

// A pod that may answer.
struct RoutedPod {
  std::string name;
  std::string host;  // of a Service that has it, whole
  std::map<std::string, std::string> labels = {};
};

// What a request may come to.
struct RoutedEnd {
  double share = 1;              // of requests, above 0
  std::optional<int> status{};   // the client's proxy answers with it; absent: a pod does
  bool aborted = false;          // because it was told to
  std::set<std::string> pods{};  // one of these
  bool operator==(const RoutedEnd&) const = default;
};

// How many requests are held up by so much.
struct RoutedDelay {
  base::Duration delay = {};
  double share = 0;
};

struct RoutedAs {
  std::vector<RoutedEnd> ends = {};  // their shares are 1 together; each of other pods
  std::optional<RoutedDelay> delay = {};
  // What whoever dials keeps to, where all go to one destination.
  std::optional<base::kube::DestinationPolicy> policy = {};
  // Whether any object is about the host: else a cell says nothing of them.
  bool said = true;
  // Pods that two ends have: then nobody can tell by whose weight they answered.
  bool ambiguous = false;
};

// Objects as the mesh has them: no two of a kind are about one host.
struct RoutingObjects {
  std::vector<base::kube::VirtualService> virtual_services = {};
  std::vector<base::kube::DestinationRule> destination_rules = {};
};

// Adds what manifests say, one in place of another of its kind, namespace and name; other kinds are
// passed over. Errors: as read_virtual_service() and read_destination_rule().
[[nodiscard]] base::Result<> add_objects(const std::vector<base::Json>& manifests,
                                         RoutingObjects& objects);

[[nodiscard]] RoutedAs routed_as(const RoutingObjects& objects, const std::vector<RoutedPod>& pods,
                                 const RoutedRequest& request);

}  // namespace checks
