// An environment's objects, with what an API server would do to them on the way in: validation,
// allocation of Service addresses, resourceVersion. In memory; no watch. Of namespaces and pods it
// has what selectors look at.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/kube/authorization_policy.h"
#include "base/kube/destination_rule.h"
#include "base/kube/endpoint_slice.h"
#include "base/kube/network_policy.h"
#include "base/kube/peer_authentication.h"
#include "base/kube/request_authentication.h"
#include "base/kube/service.h"
#include "base/kube/virtual_service.h"
#include "base/result.h"
#include "cluster/lab/datapath/datapath.h"
#include "cluster/topology.h"

namespace cluster {

class ObjectStore {
 public:
  // Creates or replaces an object and returns its resourceVersion; one equal to what is stored
  // keeps its version, as on a server. A NetworkPolicyList, a ServiceList or an EndpointSliceList
  // is all of its items at once. On an error nothing is changed.
  // Errors: input (malformed, or not allowed: the message names kind, object and field; a
  // NetworkPolicy in a namespace that is not there), missing (a kind, or a feature of a kind, that
  // the lab does not implement).
  base::Result<std::uint64_t> apply(const base::Json& object);
  // Deletes `name` or `namespace/name` and returns the version of the deletion; an object that is
  // not there is no error and changes nothing. Errors: missing (a kind the lab does not implement).
  base::Result<std::uint64_t> remove(std::string_view kind, std::string_view name);

  // The Service of that name, or nullptr; until the next apply() or remove().
  [[nodiscard]] const base::kube::Service* find_service(
      std::string_view name, std::string_view in_namespace = "default") const;
  // What the datapath is to implement now.
  [[nodiscard]] ServiceTable service_table() const;

  // A namespace, with the label the API server gives every one (kubernetes.io/metadata.name), or a
  // pod in one; or replaces its labels. Returns the version of the write. Errors: input, a label
  // that is none.
  base::Result<std::uint64_t> put_namespace(const std::string& name, const Labels& labels);
  base::Result<std::uint64_t> put_pod(const std::string& in_namespace, const std::string& name,
                                      const Labels& labels);
  // A pod that is made anew under its name: the version of that write.
  std::uint64_t renew_pod(const std::string& in_namespace, const std::string& name);
  [[nodiscard]] const std::map<std::string, Labels>& namespaces() const { return namespaces_; }
  // By namespace and name.
  [[nodiscard]] const std::map<std::pair<std::string, std::string>, Labels>& pods() const {
    return pods_;
  }
  [[nodiscard]] std::vector<base::kube::NetworkPolicy> policies() const;
  // The oldest first.
  [[nodiscard]] std::vector<base::kube::PeerAuthentication> peer_authentications() const;
  [[nodiscard]] std::vector<base::kube::AuthorizationPolicy> authorization_policies() const;
  [[nodiscard]] std::vector<base::kube::RequestAuthentication> request_authentications() const;
  // No two of a kind are about the same host.
  [[nodiscard]] std::vector<base::kube::VirtualService> virtual_services() const;
  [[nodiscard]] std::vector<base::kube::DestinationRule> destination_rules() const;

 private:
  using Key = std::pair<std::string, std::string>;  // namespace, name

  base::Result<base::kube::Service> admit(base::kube::Service service);
  base::Result<std::uint64_t> apply_service(const base::Json& object);
  base::Result<std::uint64_t> apply_list(const base::Json& list);
  base::Result<std::uint64_t> apply_policy(const base::Json& object);
  base::Result<std::uint64_t> apply_policies(const base::Json& list);
  base::Result<std::uint64_t> apply_peer_authentication(const base::Json& object);
  // Of an object in a namespace that must be there: the mesh's own always is. Errors: input.
  [[nodiscard]] base::Result<> check_namespace(const base::kube::ObjectMeta& metadata,
                                               std::string_view kind) const;
  base::Result<> allocate_addresses(base::kube::Service& service);
  base::Result<> allocate_node_ports(base::kube::Service& service) const;
  template <typename Object>
  std::uint64_t store(std::map<Key, Object>& objects, Object object);

  // Who has which ClusterIP, kept beside the Services: thousands may ask for one.
  void index(const Key& key, const std::vector<std::string>& cluster_ips);
  void forget(const Key& key);

  std::map<Key, base::kube::Service> services_;
  std::map<std::string, Key, std::less<>> owners_;  // by ClusterIP
  int first_free_ = 1;  // no Service index below it has its addresses free
  std::map<Key, base::kube::EndpointSlice> slices_;
  std::map<Key, base::kube::NetworkPolicy> policies_;
  std::map<Key, base::kube::PeerAuthentication> peer_authentications_;
  std::map<Key, std::uint64_t> peer_authentications_made_;  // the version each was made with
  std::map<Key, base::kube::AuthorizationPolicy> authorization_policies_;
  std::map<Key, base::kube::RequestAuthentication> request_authentications_;
  std::map<Key, base::kube::VirtualService> virtual_services_;
  std::map<Key, base::kube::DestinationRule> destination_rules_;
  std::map<std::string, Labels> namespaces_;
  std::map<Key, Labels> pods_;
  std::uint64_t version_ = 0;
};

}  // namespace cluster
