// A simulated cluster's Cilium, in a namespace of its own, with an agent on each of its two nodes.
#pragma once

#include <string>
#include <utility>

#include "cluster/kubernetes/testing/fake_api_server.h"

namespace cluster::testing {

inline void put_cilium(FakeApiServer& server) {
  server.answer_with(
      {.when = "GET /apis/apps/v1/daemonsets",
       .status = 200,
       .body =
           R"({"items":[{"metadata":{"name":"cilium","namespace":"network"},"spec":{)"
           R"("template":{"spec":{"containers":[{"image":"quay.io/cilium/cilium:v1.17.4"}]}}}}]})",
       .times = 2});
  for (const auto& [name, node] : {std::pair{"cilium-aaaaa", "n1"}, {"cilium-bbbbb", "n2"}}) {
    server.put(std::string("/api/v1/namespaces/network/pods/") + name,
               {{"metadata",
                 {{"name", name}, {"namespace", "network"}, {"labels", {{"k8s-app", "cilium"}}}}},
                {"spec", {{"nodeName", node}}},
                {"status", {{"phase", "Running"}}}});
  }
}

}  // namespace cluster::testing
