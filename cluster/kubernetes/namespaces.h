// Namespaces of our own.
#pragma once

#include <string_view>

#include "base/result.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/manifests.h"

namespace cluster {

// Creates a placement's namespace and returns once pods can be made in it: a controller has to give
// it an account first. `pod_security`: as namespace_manifest(). Errors: timed_out, and as
// ApiClient::apply().
[[nodiscard]] base::Result<> create_namespace(ApiClient& api, const Placement& place,
                                              std::string_view pod_security);

}  // namespace cluster
