// By which the nodes of a cluster that the provider `processes` brings up say who connects their
// pods: no DaemonSet tells it there.
#pragma once

#include <string_view>

namespace cluster {

// An annotation of a Node; its value is the plugin's name, such as "bridge".
inline constexpr std::string_view network_plugin_annotation = "stackbench.io/network-plugin";

}  // namespace cluster
