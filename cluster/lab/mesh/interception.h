// How a pod's TCP is led through its proxy: the rules istio-init writes, as `iptables-restore`
// takes them. Source: istio/tools/istio-iptables/pkg/capture, its golden files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace cluster {

// Whom a proxy runs as: what is its own is not led to it again.
inline constexpr unsigned proxy_uid = 1337;
// Where proxies of Istio listen.
inline constexpr std::uint16_t outbound_port = 15001;
inline constexpr std::uint16_t inbound_port = 15006;

// The table `nat` of a pod with a proxy; IPv4, as in a mesh that is not dual stack. `let_through`:
// a fault, a user whose connections leave without meeting the proxy.
[[nodiscard]] std::string interception_rules(std::optional<unsigned> let_through = {});

// The same table with nothing in it: a pod as it is before that.
[[nodiscard]] std::string no_interception_rules();

}  // namespace cluster
