#include "cluster/lab/mesh/interception.h"

#include <fmt/format.h>

namespace cluster {

std::string interception_rules(std::optional<unsigned> let_through) {
  std::string rules = fmt::format(
      "*nat\n"
      ":ISTIO_INBOUND - [0:0]\n"
      ":ISTIO_REDIRECT - [0:0]\n"
      ":ISTIO_IN_REDIRECT - [0:0]\n"
      ":ISTIO_OUTPUT - [0:0]\n"
      "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports {}\n"
      "-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports {}\n"
      "-A PREROUTING -p tcp -j ISTIO_INBOUND\n"
      "-A OUTPUT -j ISTIO_OUTPUT\n"
      // HBONE, metrics, health and the agent's own port are met without the proxy.
      "-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN\n"
      "-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN\n"
      "-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN\n"
      "-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN\n"
      "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT\n",
      outbound_port, inbound_port);
  if (let_through) {
    rules +=
        fmt::format("-A ISTIO_OUTPUT -p tcp -m owner --uid-owner {} -j RETURN\n", *let_through);
  }
  // What the proxy sends the application comes from 127.0.0.6.
  rules += "-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN\n";
  for (const char* who : {"uid", "gid"}) {
    // The proxy dialling its own pod by a Service; the application dialling itself; the proxy.
    rules += fmt::format(
        "-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp ! --dport 15008 -m owner --{0}-owner {1} "
        "-j ISTIO_IN_REDIRECT\n"
        "-A ISTIO_OUTPUT -o lo -m owner ! --{0}-owner {1} -j RETURN\n"
        "-A ISTIO_OUTPUT -m owner --{0}-owner {1} -j RETURN\n",
        who, proxy_uid);
  }
  rules +=
      "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN\n"
      "-A ISTIO_OUTPUT -j ISTIO_REDIRECT\n"
      "COMMIT\n";
  return rules;
}

std::string no_interception_rules() { return "*nat\nCOMMIT\n"; }

}  // namespace cluster
