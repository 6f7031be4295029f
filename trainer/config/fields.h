#ifndef WYVERN_TRAINER_CONFIG_FIELDS_H_
#define WYVERN_TRAINER_CONFIG_FIELDS_H_

#include "layers/config_visitor.h"
#include "trainer/config/run_config.h"

namespace wyvern {

// Every key of a configuration file, in the order in which it is printed.
void VisitRunConfig(ConfigVisitor& v, RunConfig* config);
void VisitModelConfig(ConfigVisitor& v, ModelConfig* config);

// In the order of RecomputePolicy.
extern const std::vector<std::string> kRecomputeNames;

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CONFIG_FIELDS_H_
