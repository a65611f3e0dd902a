// What a scenario asks of a mesh's VirtualServices and DestinationRules: cells, each a claim that
// follows from these objects and is tried through the proxy of each pod of a group.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/describe.h"
#include "base/json.h"

namespace stackbench {

struct RoutingSpec {
  std::string name;
  std::string from;
  std::string method = "GET";
  std::string path = "/0";  // its last part: how many bytes are to come back
  std::map<std::string, std::string> headers = {};
  int requests = 1;
  // One of these makes it another claim than that requests come to what is said.
  std::optional<int> at_once = {};
  std::optional<std::string> fails = {};
  std::optional<base::Json> writes = {};
};
inline constexpr int most_routed_requests = 5000;
inline constexpr int most_at_once = 64;

template <typename Visit, base::SelfOf<RoutingSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "What the report calls it.", .required = true});
  visit(
      "from", self.from,
      {.doc = "The group of pods that ask, each of them through its own proxy.", .required = true});
  visit("method", self.method, {.doc = "Of the requests, GET unless said."});
  visit("path", self.path,
        {.doc = "Of the requests, /0 unless said: how many bytes are asked for is its last part."});
  visit("headers", self.headers, {.doc = "Fields they have, by name in small letters."});
  visit("requests", self.requests,
        {.doc = "How many, one after the other, each on a connection of its own.",
         .at_least = 1,
         .at_most = most_routed_requests});
  visit("at_once", self.at_once,
        {.doc = "So many requests under way at one time, in place of one after the other: those "
                "beyond what connectionPool leaves room for are to be refused.",
         .at_least = 2,
         .at_most = most_at_once});
  visit("fails", self.fails,
        {.doc = "A pod (web-1) whose server is ended for a while: by outlierDetection it is to be "
                "left alone, and sent requests again afterwards."});
  visit(
      "writes", self.writes,
      {.doc = "A VirtualService or a DestinationRule that is written, and taken back, a few times "
              "under a stream of requests: how soon is it obeyed?"});
}

}  // namespace stackbench
