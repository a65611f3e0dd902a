// The addons of a cluster's shape (calico.h, metallb.h, coredns.h, istio.h), as its API server is
// told of them before any part of them starts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cluster/processes/api_client.h"
#include "cluster/processes/api_object.h"
#include "cluster/processes/layout.h"
#include "cluster/processes/shape.h"

namespace cluster::processes {

inline constexpr std::string_view definitions_path =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

// The directories of the CustomResourceDefinitions that a shape takes; none without addons.
[[nodiscard]] std::vector<std::string> definition_folders(const Tools& tools, const Shape& shape);

// Makes those of one directory, a YAML file each. Errors: missing, as
// ApiClient::create_from_yaml().
[[nodiscard]] base::Result<> create_definitions(const ApiClient& api, const std::string& folder);

// What the addons find when they start, to be made in this order once all definitions are
// Established. Errors: of reading Calico's version.
[[nodiscard]] base::Result<std::vector<ApiObject>> addon_objects(const Tools& tools,
                                                                 const Shape& shape);

}  // namespace cluster::processes
