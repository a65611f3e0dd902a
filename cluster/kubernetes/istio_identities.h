// Whom pods of a mesh on a cluster are: each group of pods has a service account of its own, as in
// a lab, in namespaces that go by other names than the scenario's. Pure functions.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/json.h"
#include "cluster/kubernetes/manifests.h"

namespace cluster {

// Names of namespaces, by what a scenario calls them.
using NamespaceNames = std::map<std::string, std::string, std::less<>>;

// "spiffe://cluster.local/ns/default/sa/web" (SPIFFE-ID 2.1, as Istio writes it).
[[nodiscard]] std::string spiffe_identity(const std::string& trust_domain,
                                          const std::string& in_namespace,
                                          const std::string& account);

// The account of a group's pods.
[[nodiscard]] base::Json service_account_manifest(const Placement& place, const std::string& group);

// An object of Istio's whose sources (principals, namespaces, service accounts; in `from` and in
// `when`) are of the namespaces as they are called on the cluster. What names others stays.
[[nodiscard]] base::Json with_names_of(const NamespaceNames& names, base::Json object);

// What in such an object names namespaces so that nobody can say which they are: a part of a name
// ("part*"), or a host. Nothing where all can be named.
[[nodiscard]] std::optional<std::string> unnamed_source(const base::Json& object);

}  // namespace cluster
