#include "stackbench/scenario/schema.h"

#include "stackbench/scenario/scenario.h"

namespace stackbench {

base::Json scenario_schema() {
  base::Json schema = {{"$schema", "http://json-schema.org/draft-07/schema#"},
                       {"title", "stackbench scenario"},
                       {"description",
                        "One question, the arms it compares, or the policies, the BGP or the "
                        "rotation of certificates or the plaintext window it asks of, and what "
                        "must hold."}};
  schema.update(base::json_schema<Scenario>());
  // Arms and workloads, or policies, or bgp, or a rotation: a scenario asks one question.
  schema["required"] = base::Json::array({"question", "topology"});
  const auto has = [](const char* part) {
    return base::Json{{"required", base::Json::array({part})}};
  };
  auto measures = base::Json::object();
  auto asks_of_policies = base::Json::object();
  for (const auto* part : {"arms", "workloads"}) measures[part] = {{"minItems", 1}};
  for (const auto* part : {"arms", "workloads", "expect", "events"}) {
    asks_of_policies[part] = {{"maxItems", 0}};
  }
  auto asks_of_rotation = asks_of_policies;
  auto asks_of_bgp = asks_of_policies;
  for (const auto* part : {"checks", "faults"}) asks_of_bgp[part] = {{"maxItems", 0}};
  asks_of_bgp["environments"] = {{"maxProperties", 0}};
  schema["if"] = has("policy");
  const auto asks_of_windows = asks_of_policies;
  const base::Json no_more = {
      {"anyOf", base::Json::array({has("bgp"), has("rotation"), has("plaintext_window")})}};
  schema["then"] = {{"properties", std::move(asks_of_policies)}, {"not", no_more}};
  const base::Json no_more_of_a_mesh = {
      {"anyOf", base::Json::array({has("rotation"), has("plaintext_window")})}};
  const base::Json rotates = {{"properties", std::move(asks_of_rotation)}};
  const base::Json compares = {{"required", base::Json::array({"arms", "workloads"})},
                               {"properties", std::move(measures)}};
  const base::Json windows = {{"if", has("plaintext_window")},
                              {"then", {{"properties", asks_of_windows}}},
                              {"else", compares}};
  schema["else"] = {{"if", has("bgp")},
                    {"then", {{"properties", std::move(asks_of_bgp)}, {"not", no_more_of_a_mesh}}},
                    {"else", {{"if", has("rotation")}, {"then", rotates}, {"else", windows}}}};
  auto& properties = schema["properties"];
  properties["checks"]["uniqueItems"] = true;
  auto& expect = properties["expect"];
  expect["maxItems"] = 8;
  expect["items"]["oneOf"] = base::Json::array();
  for (const auto* bound : {"at_most", "at_least", "within"}) {
    expect["items"]["oneOf"].push_back({{"required", base::Json::array({bound})}});
  }
  properties["plaintext_window"]["properties"]["changes"]["minItems"] = 1;
  const base::Json word = {{"pattern", "^[a-z0-9_]{1,63}$"}};
  const base::Json label = {{"pattern", "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}};
  properties["environments"]["propertyNames"] = word;
  properties["arms"]["items"]["properties"]["name"].update(word);
  auto& topology = properties["topology"]["properties"];
  topology["pods"]["propertyNames"] = label;
  topology["pods"]["minProperties"] = 1;
  topology["services"]["propertyNames"] = label;
  topology["namespaces"]["propertyNames"] = label;
  auto& policy = properties["policy"]["properties"];
  policy["ports"]["propertyNames"] = {{"pattern", "^[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$"}};
  policy["changes"]["items"]["properties"]["name"].update(word);
  policy["changes"]["items"]["oneOf"] = base::Json::array();
  for (const auto* kind :
       {"create", "update", "delete", "label_pod", "label_namespace", "restart_pod"}) {
    policy["changes"]["items"]["oneOf"].push_back({{"required", base::Json::array({kind})}});
  }
  return schema;
}

}  // namespace stackbench
