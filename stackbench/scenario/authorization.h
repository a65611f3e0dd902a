// What a scenario asks of a mesh's AuthorizationPolicies and RequestAuthentications: requests, and
// what each must come to.
#pragma once

#include <optional>
#include <string>

#include "base/describe.h"
#include "base/kube/authorization_policy.h"

namespace stackbench {

// One request, through the proxies of whoever asks and whoever answers.
struct AccessSpec {
  std::string name;
  std::string from;
  std::string workload = "http";
  std::string method = "GET";
  std::string path = "/0";  // its last part: how many bytes are to come back
  std::optional<std::string> token = {};
  base::kube::Access expect = base::kube::Access::allowed;
};

template <typename Visit, base::SelfOf<AccessSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "What the report calls it.", .required = true});
  visit("from", self.from,
        {.doc = "The group of pods whose first one asks, with the identity of its proxy.",
         .required = true});
  visit("workload", self.workload,
        {.doc = "At whose port it asks: a workload of this scenario, http unless said. Of others "
                "than http there is a connection and no request."});
  visit("method", self.method, {.doc = "Of the request, GET unless said."});
  visit("path", self.path,
        {.doc = "Of the request, /0 unless said: how many bytes are asked for is its last part."});
  visit("token", self.token, {.doc = "A JWT it carries as \"Authorization: Bearer\"."});
  visit("expect", self.expect,
        {.doc = "allowed (it is answered), denied (403 by the proxy, or a connection that it "
                "closes) or unauthenticated (401 by the proxy).",
         .required = true});
}

}  // namespace stackbench
