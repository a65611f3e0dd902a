// The last step of bringing a cluster up: a mesh, where one is asked for.
#include <chrono>
#include <optional>
#include <utility>

#include <fcntl.h>

#include "base/process.h"
#include "cluster/processes/component_set.h"
#include "cluster/processes/files.h"
#include "cluster/processes/istio.h"
#include "cluster/processes/supervisor.h"

namespace cluster::processes {
namespace {

using base::ErrorKind;
using base::Result;

// Its images are there; what takes time is the start of its control plane and of a gateway.
constexpr base::Duration install_patience = std::chrono::minutes(4);
constexpr base::Duration injection_patience = std::chrono::minutes(1);
constexpr std::string_view installer = "istioctl";  // its log's name
// The API server asks Istio's webhook, and keeps nothing.
constexpr std::string_view try_pod_path = "/api/v1/namespaces/default/pods?dryRun=All";

}  // namespace

Result<> Supervisor::install_mesh() {
  if (shape_.mesh == Mesh::none) return {};
  const auto operator_file = directory_.path() + "/istio-operator.yaml";
  RETURN_IF_ERROR(write_plain_file(operator_file, std::string(istio_operator())));
  RETURN_IF_ERROR(run_istioctl(operator_file));
  const auto pod = base::dump_json(pod_asking_for_a_proxy());
  RETURN_IF_ERROR(
      wait_until("Istio to put a proxy beside a pod", injection_patience, [&]() -> Result<bool> {
        ASSIGN_OR_RETURN(const auto answer, api_->request("POST", std::string(try_pod_path), pod));
        ASSIGN_OR_RETURN(const auto made, base::parse_json(answer.body));
        return has_proxy(made);
      }));
  progress_(fmt::format("Istio ready after {:.1f} s",
                        std::chrono::duration<double>(base::monotonic_now() - started_).count()));
  return {};
}

Result<> Supervisor::run_istioctl(const std::string& operator_file) {
  ASSIGN_OR_RETURN(const auto version, istio_version(tools_));
  const auto log_path = directory_.log(installer);
  const base::UniqueFd log(
      ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644));
  if (!log) return base::system_error(errno, "{}", log_path);
  // It keeps files of its own in its home.
  std::vector<std::string> environment{"PATH=" + tools_.path, "HOME=" + directory_.path()};
  ASSIGN_OR_RETURN(auto process,
                   base::Process::spawn(
                       {.argv = istio_install_command(directory_, tools_, version, operator_file),
                        .environment = std::move(environment),
                        .directory = directory_.path(),
                        .out = base::Stdio::descriptor(log.get()),
                        .err = base::Stdio::descriptor(log.get())}));
  std::optional<base::ExitStatus> ended;
  RETURN_IF_ERROR(wait_until("istioctl to install Istio", install_patience, [&]() -> Result<bool> {
    const auto status = process.wait(base::Duration::zero());
    if (!status) return false;  // it runs
    ended = *status;
    return true;
  }));
  if (ended->success()) return {};
  return base::fail_with_mend(ErrorKind::system,
                              fmt::format("cluster {}: istioctl install ended with {}\n{}",
                                          shape_.name, ended->to_string(), last_lines(log_path)),
                              fmt::format("All it said is in {}", log_path));
}

}  // namespace cluster::processes
