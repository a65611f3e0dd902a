// What Istio's objects have in common.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/kube/meta.h"
#include "base/kube/peer_authentication.h"

namespace base::kube {

// "AuthorizationPolicy default/web" of an object as it is written, whatever it is.
[[nodiscard]] std::string istio_object_name(std::string_view kind, const Json& object);

// Its spec, or an empty one.
[[nodiscard]] Json spec_of(const Json& object);

// The part of Istio's validation that every kind has. Errors: input, led by `where`: another
// apiVersion than `expected`, or that group's v1beta1, and names that are none.
[[nodiscard]] Result<> check_istio_object(
    std::string_view api_version, const ObjectMeta& metadata, std::string_view where,
    std::string_view expected = peer_authentication_api_version);

// Whether an object with such a selector is about a pod: its namespace's are, and those of the
// mesh's own namespace.
[[nodiscard]] bool is_about(const ObjectMeta& metadata,
                            const std::optional<WorkloadSelector>& selector,
                            std::string_view in_namespace,
                            const std::map<std::string, std::string>& labels);

}  // namespace base::kube
