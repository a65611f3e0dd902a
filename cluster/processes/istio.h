// Istio as a cluster of processes has it: installed by its own istioctl as its users install it,
// from images that ./bootstrap makes. What differs from its defaults is data, charts/istio. Pure
// functions, but for the version.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "cluster/processes/layout.h"

namespace cluster::processes {

// The IstioOperator of charts/istio, as YAML.
[[nodiscard]] std::string_view istio_operator();

// Of the Istio that ./bootstrap built, "1.31.0-dev.eed52ebb66ad". Errors: missing, system.
[[nodiscard]] base::Result<std::string> istio_version(const Tools& tools);

// What installs it, of that version, from a file that has istio_operator(); and waits until all of
// it is ready.
[[nodiscard]] std::vector<std::string> istio_install_command(const Directory& directory,
                                                             const Tools& tools,
                                                             const std::string& version,
                                                             const std::string& operator_file);

// A Pod that asks for a proxy, and whether one came back from an API server with it.
[[nodiscard]] base::Json pod_asking_for_a_proxy();
[[nodiscard]] bool has_proxy(const base::Json& pod);

}  // namespace cluster::processes
