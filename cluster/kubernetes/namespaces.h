// Namespaces of our own.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/manifests.h"

namespace cluster {

// Creates a placement's namespace and returns once pods can be made in it: a controller has to give
// it an account first. The others: as namespace_manifest(). Gives the labels it has. Errors:
// timed_out, and as ApiClient::apply().
[[nodiscard]] base::Result<std::map<std::string, std::string>> create_namespace(
    ApiClient& api, const Placement& place, std::string_view pod_security,
    const std::map<std::string, std::string>& labels = {}, const std::string& called = {});

}  // namespace cluster
