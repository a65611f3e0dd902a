#include "stackbench/commands/publish.h"

#include <filesystem>

#include "base/file.h"
#include "base/http/http.h"
#include "reports/prometheus.h"
#include "reports/push.h"

namespace stackbench {

void declare_publish_arguments(CLI::App& app, PublishArguments& arguments) {
  app.add_option("--prometheus-textfile", arguments.textfile,
                 "Write the figures for node_exporter's textfile collector, too")
      ->type_name("FILE");
  app.add_option("--push-gateway", arguments.gateway,
                 "Push the figures to a Prometheus Pushgateway, such as http://host:9091")
      ->type_name("URL");
}

base::Result<> check_publish_arguments(const PublishArguments& arguments) {
  const auto folder = std::filesystem::path(arguments.textfile).parent_path();
  std::error_code ignored;
  if (!folder.empty() && !std::filesystem::is_directory(folder, ignored)) {
    return base::fail_with_mend(base::ErrorKind::missing,
                                fmt::format("--prometheus-textfile {}: there is no folder {}",
                                            arguments.textfile, folder.string()),
                                "Make it, or name the one that node_exporter reads.");
  }
  if (!arguments.gateway.empty()) {
    if (auto checked = base::http::check_url(arguments.gateway); !checked) {
      return base::in_context(std::move(checked).error(), "--push-gateway");
    }
  }
  return {};
}

base::Result<> publish(const reports::Report& report, const PublishArguments& arguments) {
  base::Result<> outcome;
  if (!arguments.textfile.empty()) {
    outcome = base::write_file(arguments.textfile, reports::render_prometheus(report));
  }
  if (!arguments.gateway.empty()) {
    auto pushed = reports::push_to_gateway(report, arguments.gateway);
    if (!pushed && outcome) {
      outcome = base::in_context(std::move(pushed).error(), "--push-gateway");
    }
  }
  return outcome;
}

}  // namespace stackbench
