// Where a report goes beside its own file: the options that several commands share.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "base/result.h"
#include "reports/record.h"

namespace stackbench {

struct PublishArguments {
  std::string textfile;  // empty: none
  std::string gateway;
};

// Declares --prometheus-textfile and --push-gateway.
void declare_publish_arguments(CLI::App& app, PublishArguments& arguments);

// What can be known before there is a report: that the folder of the text file exists, that the
// gateway's URL is one. Errors: input, missing.
[[nodiscard]] base::Result<> check_publish_arguments(const PublishArguments& arguments);

// Writes the text file (to a temporary one, then renamed, as node_exporter's textfile collector
// wants it) and pushes to the gateway: both are tried. Errors: the first of theirs.
[[nodiscard]] base::Result<> publish(const reports::Report& report,
                                     const PublishArguments& arguments);

}  // namespace stackbench
