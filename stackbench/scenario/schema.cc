#include "stackbench/scenario/schema.h"

#include "stackbench/scenario/scenario.h"

namespace stackbench {

base::Json scenario_schema() {
  base::Json schema = {{"$schema", "http://json-schema.org/draft-07/schema#"},
                       {"title", "stackbench scenario"},
                       {"description", "One question, the arms it compares, and what must hold."}};
  schema.update(base::json_schema<Scenario>());
  auto& properties = schema["properties"];
  properties["arms"]["minItems"] = 1;
  properties["workloads"]["minItems"] = 1;
  properties["checks"]["uniqueItems"] = true;
  auto& expect = properties["expect"];
  expect["maxItems"] = 8;
  expect["items"]["oneOf"] = base::Json::array();
  for (const auto* bound : {"at_most", "at_least", "within"}) {
    expect["items"]["oneOf"].push_back({{"required", base::Json::array({bound})}});
  }
  const base::Json word = {{"pattern", "^[a-z0-9_]{1,63}$"}};
  const base::Json label = {{"pattern", "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}};
  properties["environments"]["propertyNames"] = word;
  properties["arms"]["items"]["properties"]["name"].update(word);
  auto& topology = properties["topology"]["properties"];
  topology["pods"]["propertyNames"] = label;
  topology["pods"]["minProperties"] = 1;
  topology["services"]["propertyNames"] = label;
  return schema;
}

}  // namespace stackbench
