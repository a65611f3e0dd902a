#include "cluster/lab/datapath/kube_proxy_names.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include <openssl/sha.h>

namespace cluster {
namespace {

// RFC 4648 base32 of the SHA-256 of `text`, its first `length` characters; 5 bits each, so that up
// to 51 need no padding.
std::string short_hash(std::string_view text, std::size_t length) {
  std::array<std::uint8_t, SHA256_DIGEST_LENGTH> digest{};
  ::SHA256(reinterpret_cast<const std::uint8_t*>(text.data()), text.size(), digest.data());
  constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  std::string encoded;
  std::uint32_t pending = 0;
  int bits = 0;
  for (const std::uint8_t byte : digest) {
    pending = pending << 8 | byte;
    for (bits += 8; bits >= 5 && encoded.size() < length; bits -= 5) {
      encoded += alphabet[pending >> (bits - 5) & 31];
    }
    if (encoded.size() == length) break;
  }
  return encoded;
}

std::string nftables_base(std::string_view prefix, const std::string& name) {
  // NFT_CHAIN_MAXNAMELEN is 256; kube-proxy cuts at 240 and marks the cut.
  constexpr std::size_t longest = 240;
  std::string base = short_hash(name, 8) + "-" + name;
  if (base.size() > longest) base = base.substr(0, longest - 3) + "...";
  return std::string(prefix) + base;
}

std::string iptables_chain(std::string_view prefix, const ServiceEntry& entry) {
  return std::string(prefix) +
         short_hash(fmt::format("{}{}", service_port_name(entry), rule_protocol(entry.protocol)),
                    16);
}

std::string readable_name(const ServiceEntry& entry) {
  return fmt::format("{}/{}/{}/{}", entry.in_namespace, entry.service,
                     rule_protocol(entry.protocol), entry.port_name);
}

std::string readable_name(const ServiceEntry& entry, const Backend& backend) {
  // nft's names may not hold colons.
  std::string address = backend.endpoint.address.to_string();
  std::replace(address.begin(), address.end(), ':', '.');
  return fmt::format("{}__{}/{}", readable_name(entry), address, backend.endpoint.port);
}

}  // namespace

std::string service_port_name(const ServiceEntry& entry) {
  return fmt::format("{}/{}{}{}", entry.in_namespace, entry.service,
                     entry.port_name.empty() ? "" : ":", entry.port_name);
}

std::string_view rule_protocol(Protocol protocol) {
  return protocol == Protocol::UDP ? "udp" : "tcp";
}

std::string iptables_service_chain(const ServiceEntry& entry) {
  return iptables_chain("KUBE-SVC-", entry);
}

std::string iptables_local_chain(const ServiceEntry& entry) {
  return iptables_chain("KUBE-SVL-", entry);
}

std::string iptables_external_chain(const ServiceEntry& entry) {
  return iptables_chain("KUBE-EXT-", entry);
}

std::string iptables_endpoint_chain(const ServiceEntry& entry, const Backend& backend) {
  return "KUBE-SEP-" + short_hash(fmt::format("{}{}{}", service_port_name(entry),
                                              rule_protocol(entry.protocol), backend.endpoint),
                                  16);
}

std::string nftables_service_chain(const ServiceEntry& entry) {
  return nftables_base("service-", readable_name(entry));
}

std::string nftables_local_chain(const ServiceEntry& entry) {
  return nftables_base("local-", readable_name(entry));
}

std::string nftables_external_chain(const ServiceEntry& entry) {
  return nftables_base("external-", readable_name(entry));
}

std::string nftables_endpoint_chain(const ServiceEntry& entry, const Backend& backend) {
  return nftables_base("endpoint-", readable_name(entry, backend));
}

std::string nftables_affinity_set(const ServiceEntry& entry, const Backend& backend) {
  return nftables_base("affinity-", readable_name(entry, backend));
}

}  // namespace cluster
