// The names kube-proxy gives its chains, byte for byte, so that a lab's rules can be laid beside a
// cluster's.
#pragma once

#include <string>

#include "cluster/lab/datapath/datapath.h"

namespace cluster {

// "default/web:tcp-rr": kube-proxy's ServicePortName; without a port name "default/web".
[[nodiscard]] std::string service_port_name(const ServiceEntry& entry);

// "tcp" or "udp".
[[nodiscard]] std::string_view rule_protocol(Protocol protocol);

// pkg/proxy/iptables/proxier.go: prefix + the first 16 characters of the base32 SHA-256 of
// ServicePortName + protocol (+ endpoint).
[[nodiscard]] std::string iptables_service_chain(const ServiceEntry& entry);   // KUBE-SVC-...
[[nodiscard]] std::string iptables_local_chain(const ServiceEntry& entry);     // KUBE-SVL-...
[[nodiscard]] std::string iptables_external_chain(const ServiceEntry& entry);  // KUBE-EXT-...
[[nodiscard]] std::string iptables_endpoint_chain(const ServiceEntry& entry,   // KUBE-SEP-...
                                                  const Backend& backend);

// pkg/proxy/nftables/proxier.go: 8 characters of the hash of the readable name, then that name:
// "service-ULMVA6XW-ns/svc/tcp/p80", "endpoint-5OJB2KTY-ns/svc/tcp/p80__10.180.0.1/80".
[[nodiscard]] std::string nftables_service_chain(const ServiceEntry& entry);
[[nodiscard]] std::string nftables_local_chain(const ServiceEntry& entry);     // local-...
[[nodiscard]] std::string nftables_external_chain(const ServiceEntry& entry);  // external-...
// The set of clients that stay with a backend: affinity-...
[[nodiscard]] std::string nftables_affinity_set(const ServiceEntry& entry, const Backend& backend);
[[nodiscard]] std::string nftables_endpoint_chain(const ServiceEntry& entry,
                                                  const Backend& backend);

}  // namespace cluster
