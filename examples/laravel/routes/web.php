<?php

/**
 * The pages of the example.
 */

declare(strict_types=1);

use App\Http\Controllers\OrderController;
use Illuminate\Support\Facades\Route;

Route::get('/', [OrderController::class, 'show']);
Route::get('/login/{id}', [OrderController::class, 'login']);
Route::post('/orders', [OrderController::class, 'place']);
