// Many requests at once, but not too many.
#pragma once

#include <cstddef>
#include <functional>

#include "base/result.h"
#include "cluster/kubernetes/api_client.h"

namespace cluster {

// Calls `work` for each of 0 to count-1, on a few threads with a client each; returns when all are
// done. The first error ends it and is returned. `work` is called from those threads.
[[nodiscard]] base::Result<> for_each_request(
    const ApiOptions& api, std::size_t count,
    const std::function<base::Result<>(ApiClient& api, std::size_t index)>& work);

}  // namespace cluster
