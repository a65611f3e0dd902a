#include "cluster/kubernetes/hubble.h"

#include <algorithm>
#include <utility>

#include <fmt/ranges.h>

#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/rights.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;

constexpr std::string_view agent_selector = "k8s-app%3Dcilium";
constexpr std::string_view cilium_container = "cilium-agent";
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

Result<> check_may_ask(ApiClient& api, const HubbleQuestion& question) {
  std::vector<Right> rights{
      {.verb = "list", .resource = "pods", .in_namespace = question.in_namespace}};
  const auto exec = rights_to_exec(question.in_namespace, question.version);
  rights.insert(rights.end(), exec.begin(), exec.end());
  ASSIGN_OR_RETURN(const auto missing, missing_rights(api.options(), rights));
  if (missing.empty()) return {};
  return base::fail(ErrorKind::not_permitted,
                    "Hubble is asked in the pods of Cilium's agents, and these credentials may not "
                    "{} in namespace {}",
                    fmt::join(missing, ", "), question.in_namespace);
}

// The agent's pod of each node. Errors: missing.
Result<std::vector<std::string>> find_agents(ApiClient& api, const HubbleQuestion& question) {
  ASSIGN_OR_RETURN(const auto list,
                   api.get(fmt::format("/api/v1/namespaces/{}/pods?labelSelector={}",
                                       question.in_namespace, agent_selector)));
  std::vector<std::string> pods;
  for (const auto& node : question.nodes) {
    const auto& items = json_at(list, {"items"});
    const auto runs = [&](const Json& pod) {
      return text_at(pod, {"spec", "nodeName"}) == node &&
             text_at(pod, {"status", "phase"}) == "Running";
    };
    const auto found = std::ranges::find_if(items, runs);
    if (found == items.end()) {
      return base::fail(ErrorKind::missing,
                        "there is no agent of Cilium that runs on node {} (in {})", node,
                        question.in_namespace);
    }
    pods.push_back(text_at(*found, {"metadata", "name"}));
  }
  return pods;
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
  RETURN_IF_ERROR(check_may_ask(api, question));
  ASSIGN_OR_RETURN(const auto pods, find_agents(api, question));
  std::vector<DeniedPacket> denied;
  for (const auto& pod : pods) {
    ASSIGN_OR_RETURN(const auto text, agents.run({.in_namespace = question.in_namespace,
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
