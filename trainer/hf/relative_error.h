// How far numbers are from a reference.
#ifndef WYVERN_TRAINER_HF_RELATIVE_ERROR_H_
#define WYVERN_TRAINER_HF_RELATIVE_ERROR_H_

#include <vector>

#include "autograd/tensor.h"

namespace wyvern {

// The elements of a tensor of any floating type on any device.
std::vector<double> OnHost(const Tensor& t);

// ||x - reference|| / ||reference||, of as many elements. Of a reference of zeros: 0 if x is zero
// too, else infinity.
double RelativeRms(const std::vector<double>& x, const std::vector<double>& reference);
double RelativeRms(const Tensor& x, const Tensor& reference);

// |x - reference| / |reference|.
double Relative(double x, double reference);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_RELATIVE_ERROR_H_
