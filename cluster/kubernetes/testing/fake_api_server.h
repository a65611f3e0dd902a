// An API server for tests, on a unix socket as kubectl proxy's: it keeps objects, lists and watches
// them, and does in one step what kubelets and controllers take a while for. It can be told to
// refuse, to stall, to drop watches and to forget.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json.h"

namespace cluster::testing {

// What becomes of pods that are created.
enum class PodFate { runs, image_missing, unschedulable, stays_pending };

// What the server says instead of an answer.
struct CannedAnswer {
  std::string when;  // is in the request's "METHOD target"
  int status = 500;
  std::string body = {};
  std::string content_type = "application/json";
  std::optional<int> retry_after = {};
  int times = 1;              // how often
  bool closes = false;        // hangs up instead of answering
  base::Duration delay = {};  // before it; with status 0 the true answer follows
  bool exact = false;         // `when` is all of the request's "METHOD target"
};

// One exec, in a thread of its own.
class ExecSession {
 public:
  virtual ~ExecSession() = default;
  [[nodiscard]] virtual const std::vector<std::string>& command() const = 0;
  [[nodiscard]] virtual const std::string& pod() const = 0;
  // Some of the program's stdin; nothing once that is closed, or the client is gone.
  virtual std::optional<std::string> read() = 0;
  virtual void write_out(std::string_view text) = 0;
  virtual void write_err(std::string_view text) = 0;
  // The program's end, and the stream's.
  virtual void exit(int code) = 0;
  // Without a word, as a cut line.
  virtual void cut() = 0;
};

class FakeApiServer {
 public:
  FakeApiServer();
  ~FakeApiServer();
  FakeApiServer(const FakeApiServer&) = delete;
  FakeApiServer& operator=(const FakeApiServer&) = delete;

  [[nodiscard]] const std::string& socket() const;
  // A program that stands in for kubectl: its `proxy` leads here; "exec" runs what STACKBENCH_EXEC
  // in the test's environment names.
  [[nodiscard]] const std::string& kubectl() const;

  // An object as if somebody else had written it; null where there is none.
  void put(const std::string& path, const base::Json& object);
  void erase(const std::string& path);
  [[nodiscard]] base::Json object(const std::string& path) const;
  // A node that is Ready and takes pods.
  void add_node(const std::string& name, const std::string& address);

  void answer_with(CannedAnswer answer);
  // Ends every watch that is open.
  void drop_watches();
  // No watch can be resumed from before now: 410 Gone.
  void forget_history();
  // How pods fare that are created from now on, and whether LoadBalancers get addresses.
  void set_pod_fate(PodFate fate);
  void set_balancer(bool there);
  // Whether pods that ask for a proxy get one.
  void set_injects_proxies(bool injects);
  // With false, pods stay as unready as they were: a kubelet that is gone.
  void set_follows_readiness(bool follows);
  // A protocol an exec may ask for; empty: it is answered as by a server that knows no WebSocket.
  void set_exec_protocol(std::string protocol);
  void on_exec(std::function<void(ExecSession&)> handler);

  // "METHOD target" of every request so far.
  [[nodiscard]] std::vector<std::string> requests() const;
  [[nodiscard]] int count(const std::string& part) const;
  // Waits until so many requests with `part` came; false after 5 s.
  [[nodiscard]] bool await_requests(const std::string& part, int wanted) const;
  [[nodiscard]] int connections() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cluster::testing
