#include "reports/record.h"

namespace reports {

Trouble trouble_from(const base::Error& error) {
  auto kind = TroubleKind::setup;
  if (error.kind == base::ErrorKind::workload) kind = TroubleKind::workload;
  if (error.kind == base::ErrorKind::interrupted) kind = TroubleKind::interrupted;
  return {.kind = kind, .message = error.message, .mend = error.mend};
}

base::Json report_schema() {
  base::Json schema = {{"$schema", "http://json-schema.org/draft-07/schema#"},
                       {"title", "stackbench report"}};
  const base::Json body = base::json_schema<Report>();
  for (const auto& [key, value] : body.items()) schema[key] = value;
  return schema;
}

}  // namespace reports
