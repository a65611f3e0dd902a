#include "cluster/kubernetes/hubble.h"

#include <algorithm>
#include <utility>

#include <fmt/ranges.h>

#include "cluster/kubernetes/api_error.h"

namespace cluster {
namespace {

using base::Json;
using base::Result;

constexpr std::string_view hubble_socket = "unix:///var/run/cilium/hubble.sock";
constexpr base::Duration hubble_patience = std::chrono::seconds(20);

std::optional<base::Endpoint> end_of(const Json& flow, std::string_view end, const Json& l4,
                                     std::string_view port_key) {
  const auto address = base::IpAddress::parse(text_at(flow, {"IP", end}));
  const auto& port = json_at(l4, {port_key});
  if (!address || !port.is_number_unsigned() || port.get<std::uint64_t>() > UINT16_MAX) {
    return std::nullopt;
  }
  return base::Endpoint{.address = *address, .port = port.get<std::uint16_t>()};
}

// "egress of shop/web-0: POLICY_DENIED, by NetworkPolicy shop/deny (Cilium, by Hubble)".
std::string verdict_of(const Json& flow) {
  const auto direction = text_at(flow, {"traffic_direction"});
  const bool egress = direction == "EGRESS";
  const std::string_view whose = egress ? "source" : "destination";
  auto pod = text_at(flow, {whose, "pod_name"});
  if (const auto space = text_at(flow, {whose, "namespace"}); !space.empty()) {
    pod = fmt::format("{}/{}", space, pod);
  }
  const auto reason = text_at(flow, {"drop_reason_desc"});
  std::string text = egress ? "egress" : direction == "INGRESS" ? "ingress" : "packets";
  if (!pod.empty()) text += " of " + pod;
  text += ": " + (reason.empty() ? std::string("no reason given") : reason);
  std::vector<std::string> policies;
  for (const auto& policy : json_at(flow, {egress ? "egress_denied_by" : "ingress_denied_by"})) {
    const auto space = text_at(policy, {"namespace"});
    policies.push_back(fmt::format("{} {}{}{}", text_at(policy, {"kind"}), space,
                                   space.empty() ? "" : "/", text_at(policy, {"name"})));
  }
  if (!policies.empty()) text += fmt::format(", by {}", fmt::join(policies, ", "));
  return text + " (Cilium, by Hubble)";
}

}  // namespace

std::vector<std::string> hubble_command(const HubbleQuestion& question) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(question.age);
  std::vector<std::string> command{
      "hubble",    "observe",
      "--server",  std::string(hubble_socket),
      "--verdict", "DROPPED",
      "--since",   fmt::format("{}s", std::max<std::int64_t>(seconds.count(), 1)),
      "--output",  "jsonpb"};
  // Of several, each will do.
  for (const auto& name : question.namespaces) command.insert(command.end(), {"--namespace", name});
  return command;
}

std::optional<DeniedPacket> read_hubble_line(std::string_view line) {
  const auto json = base::parse_json(line);
  if (!json) return std::nullopt;
  const auto& flow = json_at(*json, {"flow"});
  if (text_at(flow, {"verdict"}) != "DROPPED") return std::nullopt;
  for (const auto protocol : {base::Protocol::TCP, base::Protocol::UDP}) {
    const auto& l4 = json_at(flow, {"l4", base::enum_name(protocol)});
    if (!l4.is_object()) continue;
    const auto from = end_of(flow, "source", l4, "source_port");
    const auto to = end_of(flow, "destination", l4, "destination_port");
    if (!from || !to) return std::nullopt;
    return DeniedPacket{
        .from = *from, .to = *to, .protocol = protocol, .verdict = verdict_of(flow)};
  }
  return std::nullopt;
}

Result<std::vector<DeniedPacket>> ask_hubble(ApiClient& api, Agents& agents,
                                             const HubbleQuestion& question) {
  ASSIGN_OR_RETURN(const auto pods, find_cilium_agents(api, question.agents, "Hubble"));
  std::vector<DeniedPacket> denied;
  for (const auto& pod : pods) {
    ASSIGN_OR_RETURN(const auto text, agents.run({.in_namespace = question.agents.in_namespace,
                                                  .pod = pod,
                                                  .container = std::string(cilium_container),
                                                  .command = hubble_command(question)},
                                                 hubble_patience));
    for (std::size_t start = 0; start < text.size();) {
      const auto end = std::min(text.find('\n', start), text.size());
      if (auto one = read_hubble_line(std::string_view(text).substr(start, end - start))) {
        denied.push_back(*std::move(one));
      }
      start = end + 1;
    }
  }
  return denied;
}

}  // namespace cluster
