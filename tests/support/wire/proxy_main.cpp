// pgrunbook-proxy: see proxy.hpp. Arguments, each also as an environment variable PGRUNBOOK_PROXY_<NAME>:
//   --listen ADDRESS:PORT       default 127.0.0.1:0; the port is printed
//   --names DNS:a,IP:b          names in the proxy's certificate
//   --upstream HOST:PORT        the API server
//   --upstream-ca FILE          its authority, PEM
//   --client-cert FILE --client-key FILE   ours towards it, where tokens are not used
//   --kubeconfig FILE           takes upstream, authority and certificate from there (data or files)
//   --ca-out FILE               where the proxy's own authority goes: what the operator must trust
//   --kubeconfig-out FILE       a kubeconfig for the operator that leads through the proxy
//   --kill-at N --when before|after --pid-file FILE
//   --distinct 1                N counts writes that differ
//   --chain 1                   every write that differs is killed before and, tried again, after
//   --skip TEXT                 writes whose target contains it are left alone
//   --only REGEX                so are those that are not this
//   --fail-file FILE            "STATUS REGEX" lines: writes answered with a failure; read at each write.
//                               Status 999: forwarded, and the first reply of each that differs is lost
//   --log FILE                  one JSON line per write
// Prints "port <n>" once it listens and runs until SIGTERM or SIGINT; then prints "writes <n>" and
// "kills <n>".
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "kube/client.hpp"
#include "support/wire/proxy.hpp"

namespace {

using pgrunbook::base::read_file;
using pgrunbook::test::CountingProxy;

std::map<std::string, std::string> arguments(int argc, char** argv) {
  std::map<std::string, std::string> values;
  for (const char* name : {"listen", "names", "upstream", "upstream-ca", "client-cert", "client-key",
                           "kubeconfig", "ca-out", "kubeconfig-out", "kill-at", "when", "pid-file", "log",
                           "distinct", "chain", "skip", "only", "fail-file"}) {
    std::string variable = "PGRUNBOOK_PROXY_";
    for (const char* c = name; *c != '\0'; ++c)
      variable += *c == '-' ? '_' : static_cast<char>(*c - 'a' + 'A');
    if (const char* value = std::getenv(variable.c_str())) values[name] = value;
    for (int i = 1; i + 1 < argc; i += 2) {
      if (argv[i] == "--" + std::string(name)) values[name] = argv[i + 1];
    }
  }
  return values;
}

[[noreturn]] void give_up(const std::string& text) {
  std::fprintf(stderr, "pgrunbook-proxy: %s\n", text.c_str());
  std::exit(2);
}

std::string file(const std::string& path) {
  if (path.empty()) return {};
  auto text = read_file(path);
  if (!text) give_up(text.error().text());
  return *text;
}

void split(const std::string& text, std::string* host, std::string* port) {
  auto colon = text.rfind(':');
  if (colon == std::string::npos) give_up(text + " is not host:port");
  *host = text.substr(0, colon);
  *port = text.substr(colon + 1);
}

}  // namespace

int main(int argc, char** argv) {
  auto values = arguments(argc, argv);
  CountingProxy::Options options;
  std::string token;
  if (!values["kubeconfig"].empty()) {
    auto config = pgrunbook::kube::Config::from_kubeconfig(values["kubeconfig"]);
    if (!config) give_up(config.error().text());
    std::string address = config->server.substr(std::string("https://").size());
    split(address.find(':') == std::string::npos ? address + ":443" : address, &options.upstream_host,
          &options.upstream_port);
    options.upstream_authority = config->ca_data.empty() ? file(config->ca_file) : config->ca_data;
    options.upstream_identity.certificate = config->client_certificate_data.empty()
                                                ? file(config->client_certificate_file)
                                                : config->client_certificate_data;
    options.upstream_identity.key =
        config->client_key_data.empty() ? file(config->client_key_file) : config->client_key_data;
    token = config->token.empty() ? file(config->token_file) : config->token;
  }
  if (!values["upstream"].empty()) split(values["upstream"], &options.upstream_host, &options.upstream_port);
  if (!values["upstream-ca"].empty()) options.upstream_authority = file(values["upstream-ca"]);
  if (!values["client-cert"].empty())
    options.upstream_identity = {file(values["client-cert"]), file(values["client-key"])};
  if (options.upstream_host.empty()) give_up("--upstream or --kubeconfig is missing");
  if (!values["listen"].empty()) {
    std::string port;
    split(values["listen"], &options.listen, &port);
    options.port = static_cast<std::uint16_t>(std::stoi(port));
  }
  if (!values["names"].empty()) {
    options.names.clear();
    for (std::size_t at = 0, end = 0; end != std::string::npos; at = end + 1) {
      end = values["names"].find(',', at);
      options.names.push_back(values["names"].substr(at, end - at));
    }
  }
  if (!values["kill-at"].empty()) options.kill_at = std::stoi(values["kill-at"]);
  options.when = values["when"] == "after" ? CountingProxy::When::kAfter : CountingProxy::When::kBefore;
  options.pid_file = values["pid-file"];
  options.log_file = values["log"];
  options.distinct = !values["distinct"].empty();
  options.chain = !values["chain"].empty();
  options.skip = values["skip"];
  options.only = values["only"];
  options.fail_file = values["fail-file"];
  if ((options.kill_at > 0 || options.chain) && options.pid_file.empty())
    give_up("to kill it needs --pid-file");
  const std::string listen = options.listen;

  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  CountingProxy proxy(options);
  if (!values["ca-out"].empty() &&
      !pgrunbook::base::replace_file(values["ca-out"], proxy.authority(), 0644)) {
    give_up("cannot write " + values["ca-out"]);
  }
  if (!values["kubeconfig-out"].empty()) {
    pgrunbook::base::Json config{
        {"apiVersion", "v1"},
        {"kind", "Config"},
        {"current-context", "proxy"},
        {"contexts", {{{"name", "proxy"}, {"context", {{"cluster", "proxy"}, {"user", "proxy"}}}}}},
        {"clusters",
         {{{"name", "proxy"},
           {"cluster",
            {{"server", "https://" + listen + ":" + std::to_string(proxy.port())},
             {"certificate-authority-data", pgrunbook::base::base64(proxy.authority())}}}}}},
        {"users", {{{"name", "proxy"}, {"user", pgrunbook::base::Json::object()}}}}};
    if (!token.empty()) config["users"][0]["user"]["token"] = token;
    if (!pgrunbook::base::replace_file(values["kubeconfig-out"], config.dump(2), 0600)) {
      give_up("cannot write " + values["kubeconfig-out"]);
    }
  }
  std::printf("port %d\n", proxy.port());
  std::fflush(stdout);
  int signal = 0;
  ::sigwait(&set, &signal);
  std::printf("writes %d\nkills %d\n", proxy.writes(), proxy.kills());
  return 0;
}
